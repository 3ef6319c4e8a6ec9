"""What commands that died left half done in a store, and who uses the store now.

Whoever works in a folder holds the lock beside it, which the kernel gives back when its holder ends, however it ends.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from concierge import files, mutex, paths
from concierge.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

STAGING = ".staging-"
PART = ".part-"
LOCK = ".lock"
PART_DAYS = 30
"""How long a part of a download is kept that nobody goes on with."""
USE_S = 90.0
"""How long those who use a store are waited for."""

ENTRY = re.compile(r"[0-9a-f]{32}-.+(?<!\.json)")
"""How an entry is called."""

_TURN = re.compile(rf"\.[0-9a-f]{{32}}\{LOCK}")


def sweep(root: Path) -> None:
    """Remove what processes that are gone left behind, and parts that nobody has gone on with for a month."""
    old = time.time() - PART_DAYS * 24 * 3600
    files.sweep(root)
    hidden = [entry for entry in root.glob(".*") if entry.name != LOCK]
    folders = {entry.with_name(entry.name.removesuffix(LOCK)) for entry in hidden if entry.name.startswith(STAGING)}
    parts = {entry.with_name(entry.name.removesuffix(LOCK)) for entry in hidden if entry.name.startswith(PART)}
    # A part whose folder is not there yet, or not any more, is only its lock.
    remove_free([*folders, *(part for part in parts if not part.exists() or _touched(part) < old)])
    for lock in hidden:
        if _TURN.fullmatch(lock.name):
            with contextlib.suppress(OSError), mutex.held_file(lock, wait_s=0.0) as free:
                if free:
                    unlink(lock)
    for manifest in root.glob("*.json"):
        _sweep_manifest(manifest)


def turn_of(root: Path, digest: str) -> Path:
    """Return the lock that whoever brings an entry holds."""
    return root / f".{digest[:32]}{LOCK}"


def _sweep_manifest(manifest: Path) -> None:
    """Remove the manifest of an entry that is gone, unless somebody brings it now."""
    entry = manifest.with_suffix("")
    if entry.exists() or not ENTRY.fullmatch(entry.name):
        return
    turn = turn_of(manifest.parent, manifest.name)
    with contextlib.suppress(OSError), mutex.held_file(turn, wait_s=0.0) as free:
        if free:
            if not entry.exists():
                unlink(manifest)
            unlink(turn)


def remove_free(folders: Sequence[Path]) -> None:
    """Remove the folders that nobody works in: whoever does holds the lock beside them."""
    for folder in folders:
        lock = lock_of(folder)
        with contextlib.suppress(OSError), mutex.held_file(lock, wait_s=0.0) as free:
            if free:
                files.remove(folder)
                unlink(lock)


def lock_of(folder: Path) -> Path:
    """Return the lock beside a folder in which somebody works."""
    return folder.with_name(folder.name + LOCK)


@contextlib.contextmanager
def used(root: Path) -> Iterator[None]:
    """Use a store: nothing is taken out of it meanwhile. Where it cannot be locked it is used all the same.

    Raises:
        StoreError: Another command has it to itself for longer than ``USE_S``.
    """
    had = True
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            paths.make(root, root.parent)
            try:
                had = stack.enter_context(mutex.held_file(root / LOCK, wait_s=USE_S, shared=True))
            except FileNotFoundError:
                # Whoever had it to himself took the store away with it.
                paths.make(root, root.parent)
                had = stack.enter_context(mutex.held_file(root / LOCK, wait_s=USE_S, shared=True))
        if not had:
            raise _taken(root)
        yield


@contextlib.contextmanager
def alone(root: Path, say: Callable[[str], None], *, wait_s: float = USE_S) -> Iterator[None]:
    """Have a store to oneself; a store that is not there is nobody else's.

    Raises:
        StoreError: Another command uses it for longer than that.
    """
    waiting = "Waiting for another command that brings or starts something."
    with contextlib.ExitStack() as stack:
        if root.is_dir():
            try:
                had = stack.enter_context(mutex.held_file(root / LOCK, wait_s=wait_s, waiting=lambda: say(waiting)))
            except OSError as error:
                if error.errno not in mutex.NOT_OFFERED:
                    raise
                had = True
            if not had:
                raise _taken(root)
        yield


def _taken(root: Path) -> StoreError:
    return StoreError(f"Another command uses {root}.", where=str(root), hint="Wait for it or end it, then try again.")


def unlink(file: Path) -> None:
    """Remove a file, if it can be."""
    with contextlib.suppress(OSError):
        file.unlink()


def _touched(folder: Path) -> float:
    """Return when something last arrived in a folder."""
    try:
        return max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
    except OSError:
        return time.time()
