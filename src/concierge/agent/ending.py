"""How a run ends: the only place that makes a ``RunResult``."""

from __future__ import annotations

import traceback
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from concierge.agent.events import CutOff, Event, Replied, RunResult, Started, Status
from concierge.agent.task import Spent
from concierge.errors import ConciergeError, InterruptedByUser, RunStopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.errors import RunError


def ended(events: Sequence[Event], cause: BaseException | None, *, seconds: float) -> RunResult:
    """Return the end of a run in which this happened, and which ``cause`` ended; None is the model's answer."""
    match cause:
        case None:
            return _result(events, "done", "answered", None, seconds)
        case RunStopped():
            return _result(events, "stopped", cause.reason, cause.as_dict(), seconds)
        case ConciergeError():
            return _result(events, "failed", type(cause).__name__, cause.as_dict(), seconds)
        case Exception():
            return _result(events, "failed", "crash", _crash(cause), seconds)
        case _:
            error = InterruptedByUser("The run was interrupted.")
            return _result(events, "interrupted", "interrupted", error.as_dict(), seconds)


def unended(events: Sequence[Event], *, written: bool) -> RunResult:
    """Return where a run stands that has no end: it is still written, or whoever wrote it is gone for good."""
    seconds = 0.0
    if events:
        first, last = (datetime.fromisoformat(event.ts) for event in (events[0], events[-1]))
        seconds = (last - first).total_seconds()
    if written:
        return _result(events, "running", "", None, seconds)
    error = InterruptedByUser("The process that ran it was killed.")
    return _result(events, "interrupted", "killed", error.as_dict(), seconds)


def unreadable(error: RunError) -> RunResult:
    """Return what a list says of a run whose journal cannot be read."""
    return _result((), "unreadable", "", error.as_dict(), 0.0)


def _result(
    events: Sequence[Event], status: Status, reason: str, error: Mapping[str, Any] | None, seconds: float
) -> RunResult:
    replies = [event for event in events if isinstance(event, Replied)]
    written = [event for event in events if isinstance(event, Replied | CutOff)]
    return RunResult(
        status=status,
        reason=reason,
        text=_answer(written[-1]) if written else "",
        steps=len(replies),
        usage=asdict(sum((Spent(**event.usage) for event in written), Spent())),
        seconds=round(seconds, 3),
        model=next((event.model for event in events if isinstance(event, Started)), ""),
        error=error,
    )


def _answer(event: Replied | CutOff) -> str:
    told = event.answer if isinstance(event, Replied) else None
    return event.text if told is None else told


def _crash(error: Exception) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "what": str(error),
        "where": None,
        "hint": "This is a fault of concierge: report it with this record.",
        "exit_code": 1,
        "traceback": "".join(traceback.format_exception(error)),
    }
