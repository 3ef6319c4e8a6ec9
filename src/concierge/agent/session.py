"""One run from directory to result: what the command line and the HTTP API both call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent import runs
from concierge.agent.journal import Journal, Subscriber
from concierge.agent.loop import Runner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from concierge.agent.events import RunResult
    from concierge.agent.task import Task
    from concierge.chat.port import ChatClient, OnDelta


async def run_task(
    chat: ChatClient,
    task: Task,
    *,
    workspace_root: Path,
    subscribers: Collection[Subscriber] = (),
    secrets: Collection[str] = (),
    on_delta: OnDelta | None = None,
    versions: Mapping[str, str] | None = None,
) -> RunResult:
    """Run a task in a new directory below ``workspace_root/runs/`` and return its result, whatever its status.

    The subscribers hear each event after it is written, ``run_started`` first. The secrets, such as API keys, are
    never written; the versions say what else took part, such as the engine.
    """
    folder = runs.create(workspace_root)
    with Journal(folder, subscribers=subscribers, secrets=secrets) as journal:
        toolbox = None
        if task.offer_tools:
            # A model without tools answers sooner without their import.
            from concierge.agent.tools import Tools
            from concierge.agent.workspace import Workspace

            toolbox = Tools(Workspace(folder.workspace))
        runner = Runner(chat, journal=journal, toolbox=toolbox, on_delta=on_delta, versions=versions)
        return await runner.run(task)
