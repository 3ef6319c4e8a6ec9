"""Watching a server while it starts: whether it still runs, and whether it still gets anywhere."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from concierge.server import logs
from concierge.server.processes import table

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from concierge.server.processes.identity import Identity, Usage
    from concierge.server.record import Record

HARD_CAP_S = 4 * 3600.0
"""The largest models need tens of minutes from a slow disk; nothing that works needs this long."""

BUSY_SHARE = 0.01
"""CPU seconds per second that count as work: answering our own questions costs a tenth of it."""

CHATTER = 256
"""Bytes that a server may log for each of our questions without that being progress."""


class Child:
    """A process that we started. One thread waits for it, and everybody can see how it ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.status: int | None = None
        self._ended = threading.Event()
        # A daemon: the server is meant to outlive this command, and the thread ends with either of them.
        threading.Thread(target=self._wait, args=(process,), daemon=True, name=f"server {self.pid}").start()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        self.status = process.wait()
        self._ended.set()

    def ended_within(self, seconds: float) -> bool:
        """Wait that long at most and return whether it has ended."""
        return self._ended.wait(seconds)


class Adopted:
    """A server that another command started."""

    status: int | None = None

    def __init__(self, record: Record) -> None:
        self._record = record

    def ended_within(self, seconds: float) -> bool:
        time.sleep(seconds)
        return table.leader(self._record.launch, self._record.identity) is None


class Progress:
    """Whether a start gets anywhere: processor time, bytes from the disk, or words in the log."""

    def __init__(
        self,
        members: Callable[[], list[Identity]],
        log: Path,
        *,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = members
        self._log = log
        self._limit_s = limit_s
        self._interval_s = min(limit_s / 4, 5.0)
        self._clock = clock
        self._began = self._moved = self._sampled = clock()
        self._usage = table.usage(members())
        self._logged = logs.size(log)
        self._questions = 0

    def asked(self) -> None:
        """Count a question to the server: its own trace is no progress."""
        self._questions += 1

    def stalled(self) -> str | None:
        """Return why waiting has no sense any more, or None."""
        now = self._clock()
        if now - self._sampled >= self._interval_s:
            if self._advanced(now - self._sampled):
                self._moved = now
            self._sampled = now
        if now - self._moved >= self._limit_s:
            return f"made no progress for {self._limit_s:g} s"
        if now - self._began >= HARD_CAP_S:
            return f"was not ready after {HARD_CAP_S / 3600:g} hours"
        return None

    def _advanced(self, seconds: float) -> bool:
        usage, logged = table.usage(self._members()), logs.size(self._log)
        advanced = worked(self._usage, usage, seconds) or logged - self._logged > CHATTER * self._questions
        self._usage, self._logged, self._questions = usage, logged, 0
        return advanced


def worked(before: Usage, after: Usage, seconds: float) -> bool:
    """Tell whether processes that had used ``before`` got anywhere: computed, or had bytes brought from the disk."""
    computed = after.cpu_s - before.cpu_s >= BUSY_SHARE * seconds
    return computed or after.faults > before.faults or after.read > before.read
