"""An application that answers from a script, for tests of what stands on it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from concierge.agent import runs
from concierge.agent.session import run_task
from concierge.agent.task import Limits, Task
from concierge.chat.fake import FakeChat
from concierge.config.keys import Config
from concierge.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from concierge.agent.events import RunResult
    from concierge.agent.journal import Subscriber
    from concierge.agent.runs import RunRecord, RunSummary
    from concierge.chat.port import ChatClient


class FakeRiver:
    """Runs real tasks below ``root`` against ``chat``.

    Attributes:
        asked: The models whose endpoint was asked for.
        ran: Every task that was run.
        find: Makes the endpoint of a model; may block or raise.
        settings: What else a task is given.
    """

    def __init__(self, root: Path, chat: ChatClient | None = None) -> None:
        self.config = Config(workspace_root=root)
        self.chat: ChatClient = chat or FakeChat(["Paris."] * 20)
        self.asked: list[str | None] = []
        self.ran: list[Task] = []
        self.find: Callable[[str | None], Endpoint] = named
        self.settings: dict[str, Any] = {}
        self.closed = False

    @contextmanager
    def using(self, model: str | None) -> Iterator[Endpoint]:
        self.asked.append(model)
        yield self.find(model)

    async def run(self, task: str, *, endpoint: Endpoint, limits: Limits, on_event: Subscriber) -> RunResult:
        self.ran.append(Task(task, endpoint.model, limits=limits, **self.settings))
        root = self.config.workspace_root
        return await run_task(self.chat, self.ran[-1], workspace_root=root, subscribers=[on_event])

    def close(self) -> None:
        self.closed = True

    def runs(self, *, limit: int) -> list[RunSummary]:
        return runs.list_runs(self.config.workspace_root, limit=limit)

    def read_run(self, run_id: str) -> RunRecord:
        return runs.read_run(self.config.workspace_root, run_id)


def named(model: str | None) -> Endpoint:
    return Endpoint("http://127.0.0.1:1/v1", model or "tiny")
