"""What may be chosen from, because of the lock or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.catalog.loader import load
from concierge.errors import ConfigError
from concierge.lock import file as lockfile
from concierge.lock import resolve as locks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from concierge.catalog.reference import Hub, Local
    from concierge.catalog.types import Catalog, Model
    from concierge.config.keys import Config
    from concierge.lock.file import Lock
    from concierge.lock.foreign import Describe


def pinned(
    config: Config,
    folder: Path,
    describe: Describe,
    say: Callable[[str], None],
    *,
    allow: Callable[[Lock], None],
    flags: Collection[str] = (),
) -> Catalog:
    """Return what may be chosen from: ``concierge.lock`` where it holds, else what it would be written from.

    Raises:
        ConfigError: ``locked`` is set and the lock is missing or answers another configuration.
        TrustError: The lock holds what this release does not know, and its user has not allowed it.
        FetchError: The model is a repository's, and it did not answer.
    """
    file, llm = folder / lockfile.FILE, config.llm
    if config.locked:
        lock = read(folder)
        confined = locks.confine(lock, llm)
        allow(lock)
        return confined
    catalog = load()
    if file.exists():
        lock = lockfile.load(file)
        stale = [difference for difference in locks.check(lock, llm, catalog) if difference.kind == "config"]
        if not stale:
            allow(lock)
            return lock.catalog if lock.model else catalog
        if all(difference.what in flags for difference in stale):
            say(f"{file} is left aside: this command asks for something else ({stale[0]}).")
        else:
            say(f"{file} is for another configuration and is left aside: {stale[0]}. `concierge lock` renews it.")
    if not llm.never_started:
        found = locks.resolve(llm, catalog, describe, folder=folder).catalog
        # A name that only a server may know pins nothing; the plan can still say what it is close to.
        return found if found.models else catalog
    return catalog


def describer(environ: Mapping[str, str], say: Callable[[str], None]) -> Describe:
    """Return what finds out size, hash and header of a model that is not in the catalogue."""

    def describe(wanted: Hub | Local) -> Model:
        # Most configurations name no such model, and this imports an HTTP client.
        from concierge.lock import foreign

        return foreign.describe(wanted, environ, say)

    return describe


def read(folder: Path) -> Lock:
    """Return the lock of the project in ``folder``.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    file = folder / lockfile.FILE
    if not file.exists():
        raise ConfigError(f"There is no {file.absolute()}.", where=str(file), hint="Run `concierge lock`.")
    return lockfile.load(file)
