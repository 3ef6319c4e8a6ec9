"""The step loop: ask, do what the answer calls for, ask again, until an answer calls for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from concierge import __version__
from concierge.agent.acting import Acting
from concierge.agent.asking import Asking
from concierge.agent.budget import Budget, Watch, check_said
from concierge.agent.conversation import Conversation, opening, replayed, utf8
from concierge.agent.ending import ended
from concierge.agent.events import Event, Started
from concierge.agent.protocols.choose import able
from concierge.errors import ConciergeError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from concierge.agent.events import RunResult
    from concierge.agent.journal import Journal
    from concierge.agent.task import Task
    from concierge.agent.tools import Tools
    from concierge.chat.port import ChatClient, Delta, OnDelta


class Runner:
    """Runs one task, once; ``clock`` gives seconds that only go forward, ``past`` is the run that it continues."""

    def __init__(
        self,
        chat: ChatClient,
        *,
        journal: Journal,
        toolbox: Tools | None,
        on_delta: OnDelta | None = None,
        versions: Mapping[str, str] | None = None,
        past: Sequence[Event] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chat, self._journal, self._toolbox, self._past = chat, journal, toolbox, past
        self._tell: Callable[[Delta], None] = on_delta or (lambda _: None)
        self._versions = versions or {}
        self._clock = clock
        self._said = Conversation()
        self._watch = Watch()
        self._events: list[Event] = []

    async def run(self, task: Task) -> RunResult:
        """Work on the task until it is answered, stopped, failed or cancelled; the journal then has its last event."""
        self._task = task
        self._budget = Budget(task.limits)
        self._began = self._clock()
        try:
            await self._within_time()
        except ConciergeError as error:
            return self._end(error)
        except BaseException as error:
            # A fault or an interruption is also the business of whoever waits.
            with contextlib.suppress(RunError):
                self._end(error)
            raise
        return self._end(None)

    async def _within_time(self) -> None:
        try:
            async with asyncio.timeout(self._task.limits.max_seconds) as wall:
                await self._steps()
        except TimeoutError:
            if wall.expired():
                raise self._budget.time_spent(self._seconds()) from None
            raise

    async def _steps(self) -> None:
        asking, acting = self._start()
        while True:
            replied, reading = await asking.ask(last=acting.last, final=acting.final)
            remark = acting.remark(replied, reading)
            if acting.final or not (remark or replied.tool_calls):
                self._watch.check_ended(reading.text)
                check_said(reading.text, replied.reasoning)
                return
            await acting.act(replied, remark)

    def _start(self) -> tuple[Asking, Acting]:
        task, tools = self._task, self._toolbox.specs() if self._toolbox else ()
        protocol = able(task.protocol, tools)
        taught = protocol.taught(tools) if tools else ()
        overview = self._toolbox.overview(task.text) if self._toolbox else ""
        self._emit(
            Started(
                task=utf8(task.text),
                model=task.model,
                messages=(*taught, *opening(task.text, overview, replayed(self._past, protocol))),
                tools=tools,
                temperature=task.temperature,
                limits=asdict(task.limits),
                versions={"concierge": __version__, "python": platform.python_version(), **self._versions},
                protocol=protocol.name if tools else "",
                taught=len(taught),
                folder=self._toolbox.folder if self._toolbox else "",
                continues=self._past[0].id if self._past else "",
            )
        )
        asking = Asking(
            self._chat,
            task,
            self._said,
            tools=tools,
            budget=self._budget,
            emit=self._emit,
            tell=self._tell,
            clock=self._clock,
        )
        return asking, Acting(
            self._toolbox,
            task,
            overview=overview,
            how=protocol.how,
            watch=self._watch,
            emit=self._emit,
            clock=self._clock,
        )

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        self._said.follow(event)
        self._journal.emit(event)

    def _end(self, cause: BaseException | None) -> RunResult:
        return self._journal.end(ended(self._events, cause, seconds=self._seconds()))

    def _seconds(self) -> float:
        return round(self._clock() - self._began, 3)
