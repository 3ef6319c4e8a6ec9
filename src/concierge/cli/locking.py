"""``concierge lock``, and what the other commands may choose from because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concierge.catalog.types import Catalog
    from concierge.config import Config


def pinned(config: Config, folder: Path, say: Callable[[str], None]) -> Catalog:
    """Return what may be chosen from: ``concierge.lock`` where it holds, else this release's catalogue.

    Raises:
        ConfigError: ``locked`` is set and the lock is missing or answers another configuration.
    """
    from concierge.catalog.loader import load
    from concierge.deploy import lock as locks
    from concierge.errors import ConfigError

    file = folder / locks.FILE
    if not file.is_file():
        if config.locked:
            raise ConfigError(
                f"There is no {locks.FILE} in {folder.absolute()}.", where=str(file), hint="Run `concierge lock`."
            )
        return load()
    lock = locks.load(file)
    if config.locked:
        return locks.confine(lock, config.llm)
    catalog = load()
    stale = [d for d in locks.check(lock, config.llm, catalog) if d.kind == "config"]
    if stale:
        say(f"{locks.FILE} is for another configuration ({stale[0]}); using this release's catalogue.")
        return catalog
    return lock.catalog
