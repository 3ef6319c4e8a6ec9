"""Who uses a server of ours. A lease is a file that its holder has locked: it ends with its holder, however that ends.

What is written in it is for people. Whether a server may go is asked here, by whoever would stop one, under the lock.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from concierge import files, mutex
from concierge.errors import ServerError
from concierge.server import launches, watch
from concierge.server.processes import table
from concierge.server.record import Folder

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.processes.identity import Identity
    from concierge.server.record import Record

DEATH_S = 1.0
"""How long a process whose connections are gone may take to be seen dead."""

NOTED_S = 0.5
"""How long it may take from there until it is known how it ended."""


class Lease:
    """The use of a server: while it is held, nobody else replaces or gives up the server of ``record``.

    Attributes:
        record: The launch that is used; None while none is.
        started: Whether it was started for this lease.
        waiting: Whether it is being waited for, cleaning up included.
        cancelled: Set by whoever does not want the server any more while it is being waited for.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file: Path | None = None
        self._handle: int | None = None
        self._death: table.Deathwatch | None = None
        self.record: Record | None = None
        self.started = self.waiting = False
        self.cancelled = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def take(self, record: Record, leader: Identity | None = None) -> None:
        """Hold the lease of a launch, until ``release`` or the end of this process."""
        self.release()
        folder = Folder(self._home, record.launch)
        folder.make()
        self._file = folder.lease()
        with files.storing(self._file, ServerError, hint="Make that folder writable."):
            self._handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with suppress(OSError):  # a file system without locks has no leases either
            mutex.lock(self._handle)
        mutex.sign(self._handle)
        self.watch(replace(record, identity=leader))

    def watch(self, record: Record) -> None:
        """Know from now on how the process of ``record`` ends."""
        before, self.record = self.record, record
        if record.identity is not None and (before is None or before.identity != record.identity):
            if self._death is not None:
                self._death.close()
            self._death = table.Deathwatch(record.identity)

    def join(self, endpoint: Endpoint) -> None:
        """Hold the lease of whichever server of ours answers there, if one does."""
        launch = launches.at(self._home, endpoint.base_url) if endpoint.owned else None
        if launch is not None and launch.record.state == "ready":
            self.take(launch.record, launch.leader)

    def release(self) -> None:
        """Let go."""
        if self._handle is not None and self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)
            os.close(self._handle)
        if self._death is not None:
            self._death.close()
        self._handle = self._file = self._death = self.record = None

    def how_it_ended(self) -> int | None:
        """Return the status that the server ended with: as its parent noted it, or as the system tells others."""
        told: list[int] = []

        def seen() -> bool:
            record = self.record
            noted = None if record is None else Folder(self._home, record.launch).end()
            found = self._death.status() if noted is None and self._death is not None else noted
            told.extend([] if found is None else [found])
            return bool(told)

        return told[-1] if table.wait_until(seen, within_s=NOTED_S) else None

    def died(self) -> ServerError | None:
        """Say how the server ended that is used, or None while it lives."""
        record = self.record
        if record is None or record.identity is None or not table.gone([record.identity], within_s=DEATH_S):
            return None
        if Folder(self._home, record.launch).stopped():
            return watch.stopped_in_use(record)
        return watch.died(record, self.how_it_ended())


def holders(home: Home, record: Record) -> list[str]:
    """Say who uses the server of a launch: each process once, however many leases it holds."""
    found = {mutex.holder(file) for file in Folder(home, record.launch).leases()}
    since = {holder.partition(", since ")[0]: holder for holder in sorted(found, reverse=True)}
    return sorted(since.values())


def sweep(home: Home, record: Record) -> None:
    """Remove what holders that are gone left behind; the caller holds the lock."""
    Folder(home, record.launch).leases(sweep=True)


def may_go(home: Home, record: Record) -> bool:
    """Return whether nobody uses the server; the caller holds the lock, so that nobody begins to."""
    return not Folder(home, record.launch).leases(sweep=True)
