"""The runs below ``<workspace_root>/runs/``: where each lives, how it stands, and what happened in it."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from concierge import jsontext, mutex
from concierge.agent import ending
from concierge.agent.events import Event, RunResult, Started, from_dict
from concierge.errors import RunError, UnknownRunError

if TYPE_CHECKING:
    from pathlib import Path

RUN_ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{6}")
PRIVATE = 0o700
"""A run holds what its user asked and what was answered: nobody else's business on a shared machine."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def kept(self) -> Path:
        """The files of a user's folder as they were before the run."""
        return self.path / "kept"

    @property
    def workspace(self) -> Path:
        """The only folder that tools may touch."""
        return self.path / "workspace"


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
        return {**self.summary.as_dict(), "events": [event.as_dict() for event in self.events], "torn": self.torn}


def create(workspace_root: Path) -> RunFolder:
    """Make a new run's directory under a name that sorts by time and that nobody else has."""
    runs = workspace_root / "runs"
    folder = RunFolder(runs / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir(PRIVATE)
        folder.workspace.mkdir(PRIVATE)
    except OSError as error:
        raise unwritable(f"A run directory cannot be made in {runs}", runs, error) from None
    return folder


def unwritable(what: str, where: Path | str, error: OSError) -> RunError:
    """Return the error of a run that the disk does not take."""
    hint = "Free some space there, or choose another folder with CONCIERGE_WORKSPACE."
    return RunError(f"{what}: {error.strerror}.", where=str(where), hint=hint)


LAST = "last"
"""The newest run, by this word."""


def find(workspace_root: Path, run_id: str) -> RunFolder:
    """Return the directory of a run that exists, by its id, by a beginning of it that no other has, or ``last``."""
    if RUN_ID.fullmatch(run_id):
        folder = RunFolder(workspace_root / "runs" / run_id)
        if folder.path.is_dir():
            return folder
    known = ids(workspace_root)
    able = known[-1:] if run_id == LAST else [name for name in known if run_id and name.startswith(run_id)]
    if len(able) == 1:
        return RunFolder(workspace_root / "runs" / able[0])
    close = difflib.get_close_matches(run_id, known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}?" if close else "`concierge runs list` shows every run."
    shown = run_id if len(run_id) <= 80 else run_id[:77] + "..."
    raise UnknownRunError(f"No run has the id {shown!r}.", where=str(workspace_root / "runs"), hint=hint)


def ids(workspace_root: Path) -> list[str]:
    """Return the id of every run, oldest first."""
    runs = workspace_root / "runs"
    try:
        with os.scandir(runs) as entries:
            return sorted(
                entry.name for entry in entries if RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"The runs in {runs} cannot be read: {error.strerror}.", where=str(runs)) from None


def list_runs(workspace_root: Path, *, limit: int | None = None) -> list[RunSummary]:
    """Return the runs below ``workspace_root``, newest first, at most ``limit``."""
    newest = ids(workspace_root)[::-1][:limit]
    return [_summary_or_damage(find(workspace_root, run_id)) for run_id in newest]


def read_run(workspace_root: Path, run_id: str) -> RunRecord:
    """Return one run; a ``RunError`` says that its journal is damaged, or that another release wrote it."""
    return _read(find(workspace_root, run_id))


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
