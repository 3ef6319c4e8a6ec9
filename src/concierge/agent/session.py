"""One run from directory to result: what the command line and the HTTP API both call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent import folder as folders
from concierge.agent.journal import Journal, Subscriber
from concierge.agent.loop import Runner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from concierge.agent.actions import Toolbox
    from concierge.agent.events import RunResult
    from concierge.agent.folder import RunFolder
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
    """Run a task in a new directory below ``workspace_root/runs/``.

    Args:
        chat: The model.
        task: What to do, with which model, within which limits.
        workspace_root: The folder whose ``runs/`` holds the run directories.
        subscribers: Called with each event after it is written, the first being ``run_started``.
        secrets: Texts, such as API keys, that are never written.
        on_delta: Called with each piece of an answer as it arrives.
        versions: What else the journal should name, such as the engine and its version.

    Returns:
        The result, whatever its status: only ``done`` is a success, and ``exit_code`` and ``error`` say the rest.

    Raises:
        RunError: The run's directory cannot be made or written.
        CancelledError: The run was cancelled; its journal says so.
    """
    folder = folders.create(workspace_root)
    with Journal(folder, subscribers=subscribers, secrets=secrets) as journal:
        toolbox = _toolbox(folder) if task.offer_tools else None
        runner = Runner(chat, journal=journal, toolbox=toolbox, on_delta=on_delta, versions=versions)
        return await runner.run(task)


def _toolbox(folder: RunFolder) -> Toolbox:
    # A model without tools answers sooner without their import.
    from concierge.agent.tools import Tools
    from concierge.agent.workspace import Workspace

    return Tools(Workspace(folder.workspace))
