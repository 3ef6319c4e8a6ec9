"""The words for one process and no other."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

LAUNCH = "CONCIERGE_LAUNCH"
"""Variable that every process of a launch carries; its value is random."""

BORN = "CONCIERGE_SERVER"
"""Variable beside it: the record of the launch, for whoever finds the process and no file about it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process and no other, for as long as this machine runs.

    Attributes:
        boot: Id of the boot; pids and start times mean nothing in another one.
        namespace: The pid and network namespaces; a pid or a port means nothing in others.
        start: Raw start time since boot, which clock changes do not move.
        exe: Device and inode of the program.
    """

    boot: str
    namespace: str
    pid: int
    start: int
    exe: str

    @property
    def place(self) -> tuple[str, str]:
        return (self.boot, self.namespace)

    def same_process(self, other: Identity) -> bool:
        """Return whether both are one process, which may have replaced its program since."""
        return (self.place, self.pid, self.start) == (other.place, other.pid, other.start)


@dataclass(frozen=True, slots=True)
class Marked:
    """A process that carries the mark of a launch, and the record that it was born with."""

    identity: Identity
    launch: str
    born: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket in LISTEN state."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes have consumed so far: it grows while they work."""

    cpu_s: float
    faults: int
    read: int


def parse(document: Any) -> Identity:
    """Return the identity that a record holds; a damaged one proves nothing and is a ``ValueError``."""
    expected = {field.name: {"str": str, "int": int}[str(field.type)] for field in fields(Identity)}
    if not isinstance(document, dict) or {name: type(value) for name, value in document.items()} != expected:
        raise ValueError("not an identity")
    return Identity(**document)
