"""``concierge.lock`` of a project: written and checked."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge import files
from concierge.catalog.flags import LAUNCHERS
from concierge.catalog.loader import load
from concierge.config import sources
from concierge.errors import ConfigError, UsageError
from concierge.lock import file as lockfile
from concierge.lock import resolve as locks
from concierge.river.pins import read

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from concierge.config.keys import Config
    from concierge.lock.file import Lock
    from concierge.lock.resolve import Difference
    from concierge.river.parts import Parts
    from concierge.store.bundle import Bundled


def check(parts: Parts) -> list[Difference]:
    """Return why the lock is not what ``concierge lock`` would write now.

    Raises:
        ConfigError: There is no lock.
    """
    lock = read(parts.folder)
    return locks.check(lock, parts.config.llm, load(), parts.describe, folder=parts.folder)


def write(parts: Parts, names: Collection[str] = ()) -> Path:
    """Resolve and write the lock, leaving the file alone when it says the same already, and say what moved.

    Where ``names`` are given, only these models and engines move.

    Raises:
        ConfigError: The model reference can move, or cannot be described, or the file cannot be written; or there is
            no lock in which one of ``names`` could move.
        FetchError: The model is a repository's, and it did not answer.
    """
    parts.gate.settings()
    file = parts.folder / lockfile.FILE
    before, lock = _before_and_now(parts, names)
    if not lock.model:
        parts.say(f"Nothing to pin: {_unpinned(parts.config)}.")
    if before is not None:
        for difference in locks.compare(before, lock):
            parts.say(difference.moved)
        if before.source != lock.source:
            parts.say(f"Its digest: {before.source} → {lock.source}")
    parts.say(f"Wrote {file}." if _put(file, lockfile.dump(lock).encode()) else f"{file} is current.")
    parts.gate.wrote(lock)
    return file


def diff(parts: Parts, names: Collection[str] = ()) -> list[Difference]:
    """Return what ``write`` would change in the lock that is there; raises as ``write``, and where there is none."""
    parts.gate.settings()
    before, lock = _before_and_now(parts, names)
    if before is None:
        before = read(parts.folder)
    return locks.compare(before, lock)


def _before_and_now(parts: Parts, names: Collection[str]) -> tuple[Lock | None, Lock]:
    file = parts.folder / lockfile.FILE
    wanted = locks.resolve(parts.config.llm, load(), parts.describe, folder=parts.folder)
    if names:
        before = read(parts.folder)
        return before, locks.upgraded(before, wanted, names)
    try:
        return (lockfile.load(file) if file.exists() else None), wanted
    except ConfigError:
        return None, wanted  # What cannot be read is written anew.


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


def bundle(parts: Parts, target: Path, systems: Collection[str], accelerators: Collection[str]) -> Bundled:
    """Bring what the lock pins into ``target``: of the engines that concierge starts, those that are named, or all.

    Raises:
        ConfigError: There is no lock.
        TrustError: It holds what this release does not know, and its user has not allowed it.
        UsageError: It pins no engine of a kind that is named.
        ConciergeError: As fetching does.
    """
    from concierge.store import bundle as bundles
    from concierge.store import leftovers

    lock = read(parts.folder)
    parts.gate.settings()
    parts.gate.lock(lock)
    pinned = [build for build in lock.build if build.launcher in LAUNCHERS]
    for asked, known in (
        (systems, {build.system for build in pinned}),
        (accelerators, {build.accelerator for build in pinned}),
    ):
        for name in asked:
            if name not in known:
                raise UsageError(
                    f"{lockfile.FILE} pins no engine for {name}.",
                    where=name,
                    hint=f"It does for {', '.join(sorted(known)) or 'none'}.",
                )
    wanted = [
        build.artefact
        for build in pinned
        if (not systems or build.system in systems) and (not accelerators or build.accelerator in accelerators)
    ]
    with leftovers.used(parts.home.store):
        return bundles.write([*wanted, *(model.artefact for model in lock.model)], target, parts.fetcher)
