"""The words for one process and no other."""

from __future__ import annotations

import socket
from dataclasses import dataclass, fields
from typing import Any

LAUNCH = "CONCIERGE_LAUNCH"
"""Variable that every process of a launch carries; its value is random and stands only in our record."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process and no other, for as long as this machine runs.

    Attributes:
        host: Name of the machine.
        boot: Id of the boot; pids and start times mean nothing in another one.
        namespace: Inode of the pid namespace; a pid means nothing in another one.
        pid: Always above 1.
        start: Raw start time since boot, which clock changes do not move.
        exe: Device and inode of the program.
    """

    host: str
    boot: str
    namespace: int
    pid: int
    start: int
    exe: str

    def __post_init__(self) -> None:
        # What ``kill`` would read as a group, as everybody, or as init.
        if type(self.pid) is not int or self.pid <= 1:
            raise ValueError(f"not the pid of a process that may be signalled: {self.pid!r}")

    @property
    def place(self) -> tuple[str, str, int]:
        return (self.host, self.boot, self.namespace)

    def same_process(self, other: Identity) -> bool:
        """Return whether both are one process, which may have replaced its program since."""
        return (self.place, self.pid, self.start) == (other.place, other.pid, other.start)


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


def host() -> str:
    """Return the name of this machine without the domain, which changes with the network."""
    return socket.gethostname().partition(".")[0] or "localhost"
