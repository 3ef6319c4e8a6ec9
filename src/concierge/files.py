"""Files as a whole: written and removed in one piece, with the system's refusals as sentences."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from concierge import mutex
from concierge.errors import ConciergeError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCKED_S = 0.1
"""Far longer than a writer takes from making its draft to locking it: a draft that is free for so long is nobody's."""

_DRAFT = re.compile(r"\..+\.[0-9a-f]{8}\.draft")


def replace(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file whole: after a crash, the old bytes are there or the new ones, and they are on the disk."""
    with written(path, mode=mode) as file:
        file.write(data)


@contextlib.contextmanager
def written(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Give a file to write that takes the place of ``path``, as ``replace`` does, unless the block raises."""
    sweep(path.parent)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.draft")
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(handle, "w+b") as file:
            with contextlib.suppress(OSError):
                mutex.lock(handle)
            yield file
            file.flush()
            os.fsync(handle)
            if os.name == "posix":
                draft.replace(path)
        if os.name != "posix":  # Windows renames no open file.
            draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    sync(path.parent)


def sweep(folder: Path) -> None:
    """Remove the drafts that writers left in ``folder`` when they died; a living one holds a lock on its own."""
    with contextlib.suppress(OSError):
        for draft in [entry for entry in folder.iterdir() if _DRAFT.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                if mutex.is_held(draft):
                    continue
                time.sleep(LOCKED_S)
                if not mutex.is_held(draft):
                    draft.unlink()


def remove(tree: Path) -> None:
    """Remove a file or a folder even if it is sealed; absence is fine."""
    # Rarely wanted, and it brings every compression library.
    import shutil

    if tree.is_symlink() or not tree.is_dir():
        tree.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(tree):
        with contextlib.suppress(OSError):
            Path(folder).chmod(stat.S_IRWXU)
    shutil.rmtree(tree, ignore_errors=True)


@contextlib.contextmanager
def storing(place: Path, kind: type[ConciergeError] = StoreError, *, hint: str | None = None) -> Iterator[None]:
    """Turn the operating system's refusals into a ``kind`` that says what to do: ``hint``, unless the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Free some space there." if hint else "Free some space, or put CONCIERGE_HOME on a larger disk."
        hint = hint or "Set CONCIERGE_HOME to a folder that you can write to."
        raise kind(f"Cannot write to {place}: {error.strerror or error}.", where=str(place), hint=hint) from error


def sync(folder: Path) -> None:
    """Put what was renamed in a folder on the disk, where a folder can be synced."""
    with contextlib.suppress(OSError):  # Windows opens none
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
