"""What is wanted, who wants it, and what has been done about it so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.server.record import RecordFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.engines.command import Command
    from concierge.server.processes.identity import Identity
    from concierge.server.record import Kind, Record
    from concierge.server.watch import Adopted, Child


@dataclass(frozen=True, slots=True)
class Wanted:
    """A server as it should be.

    Attributes:
        digest: Equal digests mean equal servers.
        title: What is started, for people.
        api_key: The key that it will demand; None makes a random one for each launch.
        base_url: Where it will answer, if that is known beforehand.
        command: How it is started, given its key.
        look: Its endpoint once it is proven to be ready, None while it is not.
        limit_s: Seconds without any progress after which a start has failed.
    """

    digest: str
    kind: Kind
    model: str
    title: str
    command: Callable[[str], Command]
    look: Callable[[Record, Identity | None], Endpoint | None]
    limit_s: float
    api_key: str | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a command stands: its home, its voice, its environment, and who watches its steps."""

    home: Home
    say: Callable[[str], None]
    environ: Mapping[str, str]
    checkpoint: Callable[[str], None]

    @property
    def file(self) -> RecordFile:
        return RecordFile(self.home)


@dataclass(slots=True)
class Claim:
    """A launch that we wait for.

    It is filled in before anything of it is visible, so that an interrupt at any moment finds what to undo.
    """

    record: Record | None = None
    watch: Child | Adopted | None = None
