"""Runs in the background: counted, referenced until they end, and ended when the server does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from concierge.agent.events import Event, RunResult, Started
from concierge.agent.journal import Subscriber
from concierge.api.problems import ApiError
from concierge.errors import ConciergeError, InterruptedByUser

Work = Callable[[Subscriber], Coroutine[Any, Any, RunResult]]
"""Carries a run out; the subscriber hears every event."""

STOP_SECONDS = 5.0
"""Long enough to close a connection and write the terminal event; a job that needs longer is left behind."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A run that has begun."""

    id: str
    task: asyncio.Task[RunResult]

    async def ended(self) -> None:
        """Wait for the end, and raise what kept the run from being recorded. Who stops waiting does not stop it.

        Raises:
            InterruptedByUser: The server stopped and ended the run.
        """
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise InterruptedByUser("The run was interrupted: the server is stopping.")
        self.task.result()


class Jobs:
    """The runs that are going on, ``most`` at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[RunResult]] = set()
        self._stopping = False

    async def start(self, work: Work) -> Job:
        """Start a run and return once it has its directory, or raise what kept it from beginning.

        Raises:
            ApiError: There are too many already, or the server is stopping.
        """
        if self._stopping:
            raise ApiError("The server is stopping.", status=503)
        if len(self._tasks) >= self._most:
            hint = "Wait for one to end."
            busy = f"{self._most} runs are going on, and no more are taken at once."
            raise ApiError(busy, status=429, hint=hint, headers={"Retry-After": "5"})
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def hear(event: Event) -> None:
            if isinstance(event, Started) and not begun.done():
                begun.set_result(event.id)

        task = asyncio.create_task(work(hear))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        either: set[asyncio.Future[Any]] = {task, begun}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            return Job(begun.result(), task)
        begun.cancel()
        await Job("", task).ended()
        raise RuntimeError("a run ended without having begun")

    async def stop(self) -> None:
        """End every run and wait until each has its terminal event."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)

    def _forget(self, task: asyncio.Task[RunResult]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConciergeError):
            logger.error("A run failed", exc_info=error)


async def in_thread(work: Callable[[], T]) -> T:
    """Return what blocking work returns.

    The thread is a daemon, unlike those of ``asyncio.to_thread``: a download that nobody waits for any
    more must not keep a stopped server alive.
    """
    done: Future[T] = Future()
    # From here on nobody cancels it: the work has begun, and who no longer waits is not told.
    done.set_running_or_notify_cancel()

    def body() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised again where it is awaited
            done.set_exception(error)

    threading.Thread(target=body, daemon=True, name="concierge-ensure").start()
    return await asyncio.wrap_future(done)
