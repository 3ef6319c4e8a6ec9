"""What is said when a start fails."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import StartError
from concierge.server import logs

if TYPE_CHECKING:
    from concierge.server.record import Record


def not_started(record: Record, program: str, error: OSError) -> StartError:
    return StartError(
        f"Cannot start {program}: {error.strerror}.",
        where=program,
        hint="Correct `local_llm_start_cmd`." if record.kind == "command" else None,
    )


def ended(record: Record, title: str, status: int | None) -> StartError:
    return StartError(
        f"{title} ended while it was starting{_manner(status)}.{_log_tail(record)}",
        where=record.log,
        hint=_advice(record, status),
    )


def stalled(record: Record, title: str, why: str) -> StartError:
    return StartError(
        f"{title} {why}.{_log_tail(record)}",
        where=record.log,
        hint="Raise `local_llm_start_timeout_s` if this machine is only slow.",
    )


def taken_away(record: Record) -> StartError:
    return StartError(
        f"The server of {record.model} was stopped by another command while it was starting.",
        hint="Try again when that command is done.",
    )


def _manner(status: int | None) -> str:
    if status is None:
        return ""
    return f", by {signal.Signals(-status).name}" if status < 0 else f", with exit code {status}"


def _advice(record: Record, status: int | None) -> str | None:
    if status == -getattr(signal, "SIGKILL", 9):
        return "The system probably ran out of memory: choose a smaller model or a smaller `context`."
    if status == -getattr(signal, "SIGILL", 4):
        return "This build needs processor features that this machine lacks: choose another engine."
    if record.kind == "command" and status == 0:
        return "`local_llm_start_cmd` must stay in the foreground, or its server must answer at `base_url` at once."
    return f"The whole log is {record.log}."


def _log_tail(record: Record) -> str:
    text = logs.tail(Path(record.log), secret=record.api_key)
    return f" Its log ends:\n{text}" if text else " It logged nothing."
