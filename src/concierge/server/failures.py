"""What is said when a start fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import StartError

if TYPE_CHECKING:
    from concierge.server.record import Record

TAIL_LINES = 15
TAIL_BYTES = 16_384


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
    """Return how the log ends, without the server's key."""
    try:
        with Path(record.log).open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - TAIL_BYTES, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        text = ""
    if record.api_key:
        text = text.replace(record.api_key, "***")
    lines = [f"    {line}" for line in text.strip().splitlines()[-TAIL_LINES:]]
    return "\n".join([" Its log ends:", *lines]) if lines else " It logged nothing."
