"""The launches of a home that live, found by their files and, where those are lost, by the marks of their processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.server import record as records
from concierge.server.processes import table
from concierge.server.record import Folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from concierge.paths import Home
    from concierge.server.processes.identity import Identity, Marked
    from concierge.server.record import Record


@dataclass(frozen=True, slots=True)
class Launch:
    """One that lives.

    Attributes:
        members: Its processes as far as they are seen from here. Of one without any, the kernel says that it lives:
            in another container or on another machine, where it is never touched.
    """

    record: Record
    members: tuple[Identity, ...]

    @property
    def leader(self) -> Identity:
        """The process that stands for it."""
        named = self.record.identity
        return named if named in self.members else min(self.members, key=lambda identity: identity.start)

    @property
    def serves(self) -> bool:
        """Whether it may be used: it is not being stopped, and what once answered has not died before the others."""
        record, named = self.record, self.record.identity
        if record.state == "stopping" or not self.members:
            return False
        return record.state != "ready" or (named is not None and any(map(named.same_process, self.members)))


def wanted(home: Home, wants: str) -> Launch | None:
    """Return the launch that was started for ``wants``, looking at as little as possible."""
    for record in records.recorded(home):
        named = record.identity
        if record.wants == wants and record.state != "stopping" and named is not None and table.alive(named):
            return Launch(record, (named,))
    return next((launch for launch in living(home) if launch.record.wants == wants and launch.serves), None)


def at(home: Home, base_url: str) -> Launch | None:
    """Return the launch that serves there, or is to."""
    for record in records.recorded(home):
        if record.base_url == base_url and (leader := table.leader(record.launch, record.identity)) is not None:
            return Launch(record, (leader,))
    return None


def one(home: Home, launch: str) -> Launch | None:
    """Return a launch by its mark if its processes are seen from here."""
    return next((found for found in here(home) if found.record.launch == launch), None)


def here(home: Home) -> list[Launch]:
    """Return the launches whose processes are seen from here, the newest first."""
    return [launch for launch in living(home) if launch.members]


def living(home: Home) -> list[Launch]:
    """Return every launch of the home that lives, the newest first."""
    seen = table.marked()
    known = records.recorded(home)
    launches = [
        Launch(record, tuple(table.members(record.launch, record.identity, seen)))
        for record in (*known, *_lost(home, seen, {record.launch for record in known}))
    ]
    found = [launch for launch in launches if launch.members or Folder(home, launch.record.launch).held()]
    return sorted(found, key=lambda launch: launch.record.began, reverse=True)


def _lost(home: Home, seen: Iterable[Marked], known: set[str]) -> Iterator[Record]:
    """Yield the records of launches that have none on the disk."""
    place = records.place(home)
    for process in seen:
        if process.launch in known:
            continue
        record = records.parse(process.born)
        if record is not None and record.launch == process.launch and record.home == place:
            known.add(process.launch)
            yield replace(record, identity=process.identity, base_url=record.base_url or _address(process.identity))


def _address(identity: Identity) -> str | None:
    """Return where an engine answers that was told to take any free port."""
    ports = [socket.port for socket in table.listening([identity]) if socket.host == "127.0.0.1"]
    return f"http://127.0.0.1:{ports[0]}/v1" if ports else None


def settle(home: Home) -> None:
    """Clear the records of launches that are known to be over; the caller holds the lock."""
    alive = {launch.record.launch for launch in living(home)}
    for record in records.recorded(home):
        if record.launch not in alive and record.machine == table.machine() and not _hidden(record):
            folder = Folder(home, record.launch)
            folder.leases(sweep=True)
            folder.clear()


def _hidden(record: Record) -> bool:
    """Tell whether it may live unseen: a command of another container that closed the files that it was given."""
    named, me = record.identity, table.myself()
    return record.kind == "command" and named is not None and named.boot == me.boot and named.place != me.place
