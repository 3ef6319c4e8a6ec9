"""``concierge.lock`` of a project: written and checked."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge import files
from concierge.catalog.loader import load
from concierge.config import sources
from concierge.errors import ConfigError
from concierge.lock import file as lockfile
from concierge.lock import resolve as locks
from concierge.river.pins import read

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.config.keys import Config
    from concierge.lock.resolve import Difference
    from concierge.river.parts import Parts


def check(parts: Parts) -> list[Difference]:
    """Return why the lock is not what ``concierge lock`` would write now.

    Raises:
        ConfigError: There is no lock.
    """
    lock = read(parts.folder)
    return locks.check(lock, parts.config.llm, load(), parts.describe, folder=parts.folder)


def write(parts: Parts) -> Path:
    """Resolve and write the lock, leaving the file alone when it says the same already.

    Raises:
        ConfigError: The model reference can move, or cannot be described, or the file cannot be written.
        FetchError: The model is a repository's, and it did not answer.
    """
    parts.gate.settings()
    file = parts.folder / lockfile.FILE
    lock = locks.resolve(parts.config.llm, load(), parts.describe, folder=parts.folder)
    if not lock.model:
        parts.say(f"Nothing to pin: {_unpinned(parts.config)}.")
    parts.say(f"Wrote {file}." if _put(file, lockfile.dump(lock).encode()) else f"{file} is current.")
    parts.gate.wrote(lock)
    return file


def _put(file: Path, data: bytes) -> bool:
    """Write a file as a whole, unless it says the same already; return whether it was written."""
    with files.storing(file, ConfigError, hint="Run it in a folder that you can write to."):
        if file.is_file() and file.read_bytes() == data:
            return False
        files.replace(file, data)
    return True


def _unpinned(config: Config) -> str:
    """Return why a lock holds the question and no entries."""
    if config.llm.never_started:
        return f"concierge never starts llm.engine {config.llm.engine}"
    return f"the catalogue has no model `{config.llm.model}`, so only a server may know it"


def write_first(parts: Parts) -> None:
    """Write the lock of a project that has a concierge.toml and no lock yet.

    Raises:
        ConfigError: As ``write``.
        FetchError: As ``write``.
    """
    folder = parts.folder
    if not (folder / "concierge.toml").is_file() or (folder / lockfile.FILE).exists():
        return
    if os.access(folder, os.W_OK):
        # What one command asks for beside the configuration is not the project's to pin.
        found = sources.settings({}, environ=parts.environ, folder=folder)
        write(replace(parts, config=replace(sources.build(found), trust=parts.config.trust), found=found))
    else:
        parts.say(f"{folder.absolute()} is read-only: going on without a {lockfile.FILE}.")
