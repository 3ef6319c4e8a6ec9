"""One run from directory to result: what the command line and the HTTP API both call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge import files
from concierge.agent import changes, runs
from concierge.agent.journal import Journal, Subscriber
from concierge.agent.loop import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from concierge.agent.events import Event, RunResult
    from concierge.agent.place import Shell
    from concierge.agent.runs import RunFolder
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
    inside: Path | None = None,
    past: Sequence[Event] = (),
    shell_in: Callable[[Path], Shell | None] = lambda _: None,
) -> RunResult:
    """Run a task in a new directory below ``workspace_root/runs/`` and return its result, whatever its status.

    It works on the files of ``inside``, or in a folder of its own; ``shell_in`` makes the shell that is confined to it.

    The subscribers hear each event after it is written, ``run_started`` first. The secrets, such as API keys, are
    never written; the versions say what else took part, such as the engine.
    """
    folder = runs.create(workspace_root)
    if inside is not None:
        _keep(inside, folder)
    with Journal(folder, subscribers=subscribers, secrets=secrets) as journal:
        toolbox = None
        if task.offer_tools:
            # A model without tools answers sooner without their import.
            from concierge.agent.place import Place
            from concierge.agent.tools import Tools
            from concierge.agent.workspace import Workspace

            where = inside or folder.workspace
            toolbox = Tools(Place(where, Workspace(where), shell_in(where)))
        runner = Runner(chat, journal=journal, toolbox=toolbox, on_delta=on_delta, versions=versions, past=past)
        try:
            return await runner.run(task)
        finally:
            if inside is not None:
                changes.finish(folder.kept)


def _keep(inside: Path, folder: RunFolder) -> None:
    """Keep what is there; a run that cannot never began."""
    try:
        changes.keep(inside, folder.kept)
    except BaseException:
        files.remove(folder.path)
        raise
