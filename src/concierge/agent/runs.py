"""Reading runs: which there are, how each ended, and what happened in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from concierge import jsontext, mutex
from concierge.agent import ending
from concierge.agent import folder as folders
from concierge.agent.events import Event, RunResult, Started, from_dict
from concierge.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.agent.folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run stands.

    Attributes:
        path: The run's directory.
        started: UTC time, ISO 8601; empty when the run was killed before it began.
        task: The task in the user's words.
        result: Its terminal event, or what a reader says of a run that has none.
    """

    path: Path
    started: str
    task: str
    result: RunResult

    @property
    def id(self) -> str:
        return self.path.name

    def as_dict(self) -> dict[str, Any]:
        """Return the object that programs get."""
        opening = {"id": self.id, "status": self.result.status, "started": self.started, "task": self.task}
        return {**opening, "path": str(self.path), **self.result.own()}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run.

    Attributes:
        summary: How it stands.
        events: All that happened, in order.
        torn: Whether the journal ends in half a line: its writer was killed while writing.
    """

    summary: RunSummary
    events: tuple[Event, ...]
    torn: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the object that programs get."""
        return {**self.summary.as_dict(), "events": [event.as_dict() for event in self.events], "torn": self.torn}


def list_runs(workspace_root: Path, *, limit: int | None = None) -> list[RunSummary]:
    """Return the runs below ``workspace_root``, newest first, at most ``limit``.

    Raises:
        RunError: The folder is there but cannot be read.
    """
    newest = folders.ids(workspace_root)[::-1][:limit]
    return [_summary_or_damage(folders.find(workspace_root, run_id)) for run_id in newest]


def read_run(workspace_root: Path, run_id: str) -> RunRecord:
    """Return one run.

    Raises:
        UnknownRunError: There is none of that name.
        RunError: Its journal is damaged, or another release wrote it.
    """
    return _read(folders.find(workspace_root, run_id))


def _summary_or_damage(folder: RunFolder) -> RunSummary:
    try:
        return _read(folder).summary
    except RunError as error:
        return RunSummary(folder.path, "", "", ending.unreadable(error))


def _read(folder: RunFolder) -> RunRecord:
    # Asked before the reading: whoever is gone by then adds nothing to what is read.
    written = _is_written(folder)
    # Only the newline that the journal writes ends a line; JSON text may hold every other separator.
    *lines, rest = _content(folder).split(b"\n")
    events = tuple(_event(line, f"{folder.events}:{number}") for number, line in enumerate(lines, start=1))
    started = next((event for event in events if isinstance(event, Started)), None)
    result = next((event for event in events if isinstance(event, RunResult)), None)
    if result is None:
        try:
            result = replace(ending.unended(events, written=written), id=folder.id)
        except (TypeError, ValueError):
            raise RunError(
                "A line of the journal holds other values than a run writes.", where=str(folder.events)
            ) from None
    summary = RunSummary(folder.path, started.ts if started else "", started.task if started else "", result)
    return RunRecord(summary, events, torn=bool(rest) and not written)


def _is_written(folder: RunFolder) -> bool:
    try:
        return mutex.is_held(folder.events)
    except FileNotFoundError:
        return False
    except OSError:
        # Where there are no locks, nobody can tell that the writer is gone.
        return True


def _content(folder: RunFolder) -> bytes:
    try:
        return folder.events.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"The journal cannot be read: {error.strerror}.", where=str(folder.events)) from None


def _event(line: bytes, where: str) -> Event:
    data = jsontext.parse_object(line)
    if data is None:
        raise RunError("A line of the journal is not a JSON object.", where=where)
    return from_dict(data)
