"""A run that goes on where another one ended, or was killed: in the same conversation and the same folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.agent.events import Started
from concierge.agent.runs import read_run
from concierge.errors import RunError, UsageError

if TYPE_CHECKING:
    from concierge.agent.events import Event

GO_ON = "Go on with the task."
"""What is asked when nothing else is."""


@dataclass(frozen=True, slots=True)
class Past:
    """What was there before.

    Attributes:
        id: The run.
        events: All that happened in it; its calls are not made again.
        folder: Where its tools worked; None where it had none.
        task: What its user asked for.
    """

    id: str
    events: tuple[Event, ...]
    folder: Path | None
    task: str


def past(workspace_root: Path, run_id: str) -> Past:
    """Return a run as one that another may go on with.

    Raises:
        UnknownRunError: There is none of that name.
        UsageError: It is still running, or never began, or its folder is gone.
        RunError: Its journal is damaged, or another release wrote it.
    """
    record = read_run(workspace_root, run_id)
    started = next((event for event in record.events if isinstance(event, Started)), None)
    if record.summary.result.status == "running":
        raise UsageError(f"The run {record.summary.id} is still going.", where=run_id, hint="Wait for it, or end it.")
    if started is None:
        raise RunError(f"The run {record.summary.id} was killed before it began.", where=str(record.summary.path))
    folder = Path(started.folder) if started.folder else None
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder}, where that run worked, is gone.", where=run_id, hint="Begin a new run.")
    return Past(record.summary.id, record.events, folder, started.task)
