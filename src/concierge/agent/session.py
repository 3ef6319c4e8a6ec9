"""One run from directory to result: what the command line and the HTTP API both call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge import files
from concierge.agent import changes, runs
from concierge.agent.journal import Journal, Subscriber
from concierge.agent.loop import Runner
from concierge.agent.workspace import HIDDEN
from concierge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from concierge.agent.events import RunResult
    from concierge.agent.foreign import Foreign
    from concierge.agent.going_on import Past
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
    past: Past | None = None,
    shell_in: Callable[[Path], Shell | None] = lambda _: None,
    foreign: Sequence[Foreign] = (),
) -> RunResult:
    """Run a task in a new directory below ``workspace_root/runs/`` and return its result, whatever its status.

    It works on the files of ``inside``, where the run that it continues worked, or in a folder of its own; ``shell_in``
    makes the shell that is confined to it, and ``foreign`` are tools that other programs have.

    The subscribers hear each event after it is written, ``run_started`` first. The secrets, such as API keys, are
    never written; the versions say what else took part, such as the engine.
    """
    inside = inside or (past.folder if past else None)
    _apart(inside, workspace_root)
    folder = runs.create(workspace_root)
    # What a run made for itself is nobody's files yet.
    keeps = inside is not None and not inside.is_relative_to((workspace_root / "runs").resolve())
    if inside is not None and keeps:
        _keep(inside, folder)
    with Journal(folder, subscribers=subscribers, secrets=secrets) as journal:
        toolbox = None
        if task.offer_tools:
            # A model without tools answers sooner without their import.
            from concierge.agent.place import Place
            from concierge.agent.tools import Tools
            from concierge.agent.workspace import Workspace

            where = inside or folder.workspace
            toolbox = Tools(Place(where, Workspace(where), shell_in(where)), foreign)
        runner = Runner(
            chat,
            journal=journal,
            toolbox=toolbox,
            on_delta=on_delta,
            versions=versions,
            past=past.events if past else (),
        )
        try:
            return await runner.run(task)
        finally:
            if keeps:
                changes.finish(folder.kept)


def _keep(inside: Path, folder: RunFolder) -> None:
    """Keep what is there; a run that cannot never began."""
    try:
        changes.keep(inside, folder.kept)
    except BaseException:
        files.remove(folder.path)
        raise


def _apart(inside: Path | None, workspace_root: Path) -> None:
    """Refuse to work where the runs are written: no run may read or change what is told of it."""
    own = workspace_root.resolve()
    if inside is not None and inside in (own, *own.parents) and not HIDDEN.intersection(own.relative_to(inside).parts):
        raise UsageError(
            f"The runs are written to {own}, inside of the folder to work on.",
            where=str(inside),
            hint="Choose another folder for them with --workspace.",
        )
