"""``concierge lock``, and what the other commands may choose from because of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.catalog.loader import load
from concierge.errors import ConfigError
from concierge.lock import resolve as locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.catalog.reference import Hub, Local
    from concierge.catalog.types import Catalog, Model
    from concierge.config import Config
    from concierge.lock.foreign import Describe
    from concierge.lock.resolve import Difference


def pinned(config: Config, folder: Path, say: Callable[[str], None]) -> Catalog:
    """Return what may be chosen from: ``concierge.lock`` where it holds, else what it would be written from.

    Raises:
        ConfigError: ``locked`` is set and the lock is missing or answers another configuration.
        FetchError: The model is a repository's, and it did not answer.
    """
    file = folder / locks.FILE
    if config.locked:
        return locks.confine(_read(file), config.llm)
    catalog = load()
    if file.exists():
        lock = locks.load(file)
        stale = [difference for difference in locks.check(lock, config.llm, catalog) if difference.kind == "config"]
        if not stale:
            return lock.catalog if lock.model else catalog
        say(f"{file} is for another configuration and is left aside: {stale[0]}. `concierge lock` renews it.")
    if not config.llm.never_started:
        found = locks.resolve(config.llm, catalog, describer(say), folder=folder).catalog
        # A name that only a server may know pins nothing; the plan can still say what it is close to.
        return found if found.models else catalog
    return catalog


def check(config: Config, say: Callable[[str], None], folder: Path | None = None) -> list[Difference]:
    """Return why the lock is not what ``concierge lock`` would write now.

    Raises:
        ConfigError: There is no lock.
    """
    folder = folder or Path()
    lock = _read(folder / locks.FILE)
    return locks.check(lock, config.llm, load(), describer(say), folder=folder)


def write(config: Config, say: Callable[[str], None], folder: Path | None = None) -> Path:
    """Resolve and write the lock, leaving the file alone when it says the same already.

    Raises:
        ConfigError: The model reference can move, or cannot be described, or the file cannot be written.
        FetchError: The model is a repository's, and it did not answer.
    """
    folder = folder or Path()
    file = folder / locks.FILE
    lock = locks.resolve(config.llm, load(), describer(say), folder=folder)
    if not lock.model:
        say(f"Nothing to pin: {_unpinned(config)}.")
    say(f"Wrote {file}." if _put(file, locks.dump(lock).encode()) else f"{file} is current.")
    return file


def _put(file: Path, data: bytes) -> bool:
    """Write a file as a whole, unless it says the same already; return whether it was written."""
    draft = file.with_name(f".{file.name}.new")
    try:
        if file.is_file() and file.read_bytes() == data:
            return False
        try:
            draft.write_bytes(data)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        hint = "Run it in a folder that you can write to."
        raise ConfigError(f"Cannot write {file}: {error.strerror}.", where=str(file), hint=hint) from None
    return True


def _unpinned(config: Config) -> str:
    """Return why a lock holds the question and no entries."""
    if config.llm.never_started:
        return f"concierge never starts llm.engine {config.llm.engine}"
    return f"the catalogue has no model `{config.llm.model}`, so only a server may know it"


def write_first(config: Config, say: Callable[[str], None], folder: Path | None = None) -> None:
    """Write the lock of a project that has a concierge.toml and no lock yet.

    Raises:
        ConfigError: As ``write``.
        FetchError: As ``write``.
    """
    folder = folder or Path()
    if not (folder / "concierge.toml").is_file() or (folder / locks.FILE).exists():
        return
    if os.access(folder, os.W_OK):
        write(config, say, folder)
    else:
        say(f"{folder.absolute()} is read-only: going on without a {locks.FILE}.")


def describer(say: Callable[[str], None]) -> Describe:
    """Return what finds out size, hash and header of a model that is not in the catalogue."""

    def describe(wanted: Hub | Local) -> Model:
        # Most configurations name no such model, and this imports an HTTP client.
        from concierge.lock import hub

        return hub.describer(os.environ, say)(wanted)

    return describe


def _read(file: Path) -> locks.Lock:
    if not file.exists():
        raise ConfigError(f"There is no {file.absolute()}.", where=str(file), hint="Run `concierge lock`.")
    return locks.load(file)
