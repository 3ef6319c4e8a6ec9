"""Reading runs: which there are, how each ended, and what happened in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from concierge import jsontext
from concierge.agent import folder as folders
from concierge.agent.events import Ended, Event, Started, from_dict
from concierge.agent.loop import OUTCOMES
from concierge.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from concierge.agent.folder import RunFolder

UNFINISHED = "unfinished"
"""The outcome of a run without a terminal event: it is still going on, or it was killed."""
UNREADABLE = "unreadable"
"""The outcome, in a list only, of a run whose journal is damaged or from another release."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of ``concierge runs list``.

    Attributes:
        run_id: The name of the run's directory.
        path: The run's directory.
        started: UTC time, ISO 8601; empty when the run was killed before it began.
        task: The task in the user's words.
        model: The name that was asked for.
        outcome: ``done``, ``stopped``, ``failed``, ``interrupted``, ``unfinished`` or ``unreadable``.
        reason: The word for why it ended so.
        text: The answer when ``done``; otherwise the last text that the model wrote.
        steps: Answers that the model gave.
        usage: Tokens that it took.
        seconds: Wall time.
        error: The error as an object, if one ended it.
    """

    run_id: str
    path: Path
    started: str = ""
    task: str = ""
    model: str = ""
    outcome: str = UNFINISHED
    reason: str = ""
    text: str = ""
    steps: int = 0
    usage: Mapping[str, Any] | None = None
    seconds: float | None = None
    error: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run.

    Attributes:
        summary: How it ended.
        events: All that happened, in order.
        torn: Whether the journal ends in half a line: its writer was killed while writing.
    """

    summary: RunSummary
    events: tuple[Event, ...]
    torn: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
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
    folder = folders.find(workspace_root, run_id)
    lines = _Lines(folder)
    events = tuple(lines)
    return RunRecord(_summary(folder, events), events, lines.torn)


class _Lines:
    """The events of a journal; ``torn`` once the last line turned out to be half a line."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.torn = False

    def __iter__(self) -> Iterator[Event]:
        try:
            content = self._folder.events.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"The journal cannot be read: {error.strerror}.", where=str(self._folder.events)) from None
        # Only the newline that the journal writes ends a line; JSON text may hold every other separator.
        *lines, rest = content.split(b"\n")
        self.torn = bool(rest)
        for number, line in enumerate(lines, start=1):
            yield self._event(line, number)

    def _event(self, line: bytes, number: int) -> Event:
        where = f"{self._folder.events}:{number}"
        data = jsontext.parse_object(line)
        if data is None:
            raise RunError(f"Line {number} of the journal is not a JSON object.", where=where)
        return from_dict(data)


def _summary_or_damage(folder: RunFolder) -> RunSummary:
    try:
        return _summary(folder, tuple(_Lines(folder)))
    except RunError as error:
        return RunSummary(folder.id, folder.path, outcome=UNREADABLE, error=error.as_dict())


def _summary(folder: RunFolder, events: tuple[Event, ...]) -> RunSummary:
    started = next((event for event in events if isinstance(event, Started)), None)
    ended = next((event for event in events if isinstance(event, Ended)), None)
    opening = RunSummary(folder.id, folder.path)
    if started is not None:
        opening = replace(opening, started=started.ts, task=started.task, model=started.model)
    if ended is None:
        return opening
    return replace(
        opening,
        outcome=OUTCOMES[type(ended)],
        reason=ended.reason,
        text=ended.text,
        steps=ended.steps,
        usage=ended.usage,
        seconds=ended.seconds,
        error=ended.error,
    )
