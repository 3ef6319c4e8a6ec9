"""Which tests answer for which room, and how many changes a default run tries in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Room:
    name: str
    tests: tuple[str, ...]
    sample: int

    @property
    def sources(self) -> str:
        return f"src/concierge/{self.name}/*"


BARE = ("src/concierge/server/engines/xllamacpp_server.py",)
"""Programs for an interpreter without packages: mutmut's switch, which stands in every changed file, is one."""

ROOMS = {
    room.name: room
    for room in (
        Room("plan", ("tests/plan",), 300),
        Room("store", ("tests/store",), 150),
        Room("lock", ("tests/lock",), 150),
        Room("server", ("tests/server",), 60),
        Room("agent", ("tests/agent",), 300),
        Room("api", ("tests/api",), 200),
    )
}
"""The samples are about what two cores with nothing else to do try in six minutes."""


def choose(names: Iterable[str], *, sample: int, seed: str) -> list[str]:
    """Return ``sample`` of the changes, or all for 0: the same as last time wherever the code did not change."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return ordered[: sample or None]
