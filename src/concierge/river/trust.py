"""What this project asks its user to allow, and whether the user has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.lock import trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from concierge.config.keys import KeyPath
    from concierge.config.sources import Setting
    from concierge.lock.file import Lock
    from concierge.lock.trust import Asked, Request, Trusted

FILE = "concierge.lock"


@dataclass(frozen=True, slots=True)
class Gate:
    """Stands before everything that acts on a project's files.

    Attributes:
        found: The settings that hold.
        at_once: Allow what is asked for without being asked.
    """

    found: Mapping[KeyPath, Setting]
    folder: Path
    trusted: Trusted
    at_once: bool
    say: Callable[[str], None]

    def settings(self) -> None:
        """Refuse what the project's ``concierge.toml`` asks for, unless it is allowed.

        Raises:
            TrustError: Its user has not allowed it.
            StoreError: It is to be allowed at once, and the home cannot be written.
        """
        self._settle(trust.of_settings(self.found, self.folder))

    def lock(self, lock: Lock) -> None:
        """Refuse the project's lock with entries that this release does not know; raises as ``settings``."""
        asked = self._of_lock(lock)
        self._settle(asked)
        # The next command need not read the catalogue to know as much.
        self.trusted.remember(asked)

    def lock_is_settled(self) -> bool:
        """Tell whether the lock as it is now was looked at before, and allowed where it had to be."""
        file = self.folder / FILE
        return not file.is_file() or self.trusted.holds(trust.lock_digest(file.read_bytes()))

    def wrote(self, lock: Lock) -> None:
        """Remember a lock that concierge wrote itself: it holds what was allowed, and what this release knows."""
        self.trusted.remember(self._of_lock(lock))

    def asked(self) -> Iterator[Asked]:
        """Yield what the project's files ask for, allowed or not.

        Raises:
            ConfigError: The lock cannot be read.
        """
        from concierge.lock import file as lockfile

        yield trust.of_settings(self.found, self.folder)
        if (self.folder / FILE).exists():
            yield self._of_lock(lockfile.load(self.folder / FILE))

    def requests(self) -> tuple[Request, ...]:
        """Return each thing that is asked for; raises as ``asked``."""
        return tuple(request for asked in self.asked() for request in asked.requests)

    def open(self) -> bool:
        """Tell whether all of it is allowed; raises as ``asked``."""
        return all(self.trusted.allows(asked) for asked in self.asked())

    def allow(self) -> None:
        """Allow all of it, exactly as it stands now; raises as ``asked``, and ``StoreError``."""
        for asked in self.asked():
            if asked.requests:
                self.trusted.allow(asked)

    def forget(self) -> None:
        """Take back what was allowed; raises as ``allow``."""
        self.trusted.forget(asked.digest for asked in self.asked())

    def _of_lock(self, lock: Lock) -> Asked:
        from concierge.catalog.loader import load

        file = self.folder / FILE
        return trust.of_lock(lock, load(), place=str(file), digest=trust.lock_digest(file.read_bytes()))

    def _settle(self, asked: Asked) -> None:
        if self.trusted.allows(asked):
            return
        if not self.at_once:
            raise trust.refusal(asked)
        self.trusted.allow(asked)
        for request in asked.requests:
            self.say(f"Allowed, as `trust` says: {request.place} {request.what}.")
