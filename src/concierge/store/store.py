"""The content-addressed, read-only folder of artefacts.

An entry is ``<first 32 hex digits of its digest>-<name>/`` and holds the unpacked tree or the bare file. It is
complete or absent: bytes are staged beside it, checked, made read-only and moved in by one rename.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import mutex
from concierge.catalog.types import digest
from concierge.errors import StoreError
from concierge.files import remove, storing
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from concierge.catalog.types import Artefact

STAGING = ".staging-"
PART = ".part-"
PART_DAYS = 30
"""How long a part of a download is kept that nobody goes on with."""
TURN_S = 3600.0
"""How long one process lets another download the same entry before it does so itself."""
READ_ONLY_FILE = 0o444
READ_ONLY_PROGRAM = 0o555


@dataclass(frozen=True, slots=True)
class Store:
    """The folder; nothing is created before something is put in."""

    root: Path

    def path(self, artefacts: Sequence[Artefact]) -> Path:
        """Return where these artefacts, unpacked over one another in order, are or would be."""
        return self.root / f"{digest(artefacts)[:32]}-{artefacts[0].name}"

    def has(self, artefacts: Sequence[Artefact]) -> bool:
        """Tell whether the entry is there, with every file in it that is no archive."""
        entry = self.path(artefacts)
        files = (entry / artefact.name for artefact in artefacts if artefact.archive is None)
        return entry.is_dir() and all(file.is_file() for file in files)

    def entry(self, artefacts: Sequence[Artefact]) -> Path:
        """Return the entry that is there, read-only also where whoever brought it was killed at the last moment."""
        entry = self.path(artefacts)
        if entry.stat().st_mode & stat.S_IWUSR:
            # What belongs to somebody else is theirs to seal.
            with contextlib.suppress(OSError):
                entry.chmod(READ_ONLY_PROGRAM)
        return entry

    @contextlib.contextmanager
    def turn(self, artefacts: Sequence[Artefact], say: Callable[[str], None]) -> Iterator[None]:
        """Let one process at a time bring an entry, so that two never download the same bytes.

        Nothing but the network suffers without it: where locks do not work, or the wait is over, both go on.
        """
        with storing(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self.root / f".{digest(artefacts)[:32]}.lock"
        waiting = f"Waiting for another concierge that fetches {artefacts[0].name}."
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                if stack.enter_context(mutex.held_file(file, wait_s=TURN_S, waiting=lambda: say(waiting))):
                    # Whoever waited looks whether the entry is there, and who comes later makes a file of their own.
                    stack.callback(_unlink, file)
            yield

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give an empty folder on the store's own file system, which is gone afterwards whatever happens.

        A lock beside it says that somebody works in it, also to another container or host with the same home.
        """
        with storing(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
        folder = self.root / f"{STAGING}{os.urandom(8).hex()}"
        lock = _lock_of(folder)
        with contextlib.ExitStack() as stack:
            stack.callback(_unlink, lock)
            with contextlib.suppress(OSError):
                stack.enter_context(mutex.held_file(lock))
            with storing(self.root):
                folder.mkdir(mode=0o700)
            stack.callback(remove, folder)
            yield folder

    @contextlib.contextmanager
    def part(self, artefact: Artefact, say: Callable[[str], None]) -> Iterator[Path | None]:
        """Give the folder in which a download of these very bytes goes on where any process left it.

        One process at a time has it; None where another one does not give it up, or where locks do not work.
        """
        folder = self.root / f"{PART}{artefact.sha256}"
        lock, waiting = _lock_of(folder), f"Waiting for another concierge that fetches {artefact.name}."
        with contextlib.ExitStack() as stack:
            had = False
            with contextlib.suppress(OSError):
                had = stack.enter_context(mutex.held_file(lock, wait_s=TURN_S, waiting=lambda: say(waiting)))
            if not had:
                yield None
                return
            with storing(folder):
                folder.mkdir(mode=0o700, exist_ok=True)
            try:
                yield folder
            finally:
                # A folder in which nothing has arrived is no part.
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    lock.unlink()

    def arrived(self, artefacts: Sequence[Artefact]) -> int:
        """Return the bytes of these artefacts that earlier downloads have left here."""
        folders = (self.root / f"{PART}{artefact.sha256}" for artefact in artefacts)
        pairs = zip(folders, artefacts, strict=True)
        return sum(
            _size(file)
            for folder, artefact in pairs
            for file in folder.glob(f"{glob.escape(artefact.name)}*")
            if file.is_file()
        )

    def forget(self, artefacts: Sequence[Artefact]) -> None:
        """Remove the parts of downloads that are in the store now; one that another process reads is its to remove."""
        parts = [self.root / f"{PART}{artefact.sha256}" for artefact in artefacts]
        _remove_free([part for part in parts if part.exists()])

    def place(self, staged: Path, artefacts: Sequence[Artefact]) -> Path:
        """Make ``staged`` read-only and move it in. Another process may have been faster: its bytes are the same."""
        target = self.path(artefacts)
        with storing(target):
            _seal(staged)
            if target.is_dir() and not self.has(artefacts):
                # Somebody took files out of it: what is left of it serves nobody.
                remove(target)
            try:
                staged.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                remove(staged)
            # Last, since only a folder that is writable can be moved to another parent.
            target.chmod(READ_ONLY_PROGRAM)
        return target

    def _sweep(self) -> None:
        """Remove what processes that are gone left behind, and parts that nobody has gone on with for a month."""
        old = time.time() - PART_DAYS * 24 * 3600
        folders = [folder for folder in self.root.glob(f"{STAGING}*") if folder.suffix != _LOCK]
        folders += [part for part in self.root.glob(f"{PART}*") if part.suffix != _LOCK and _touched(part) < old]
        _remove_free(folders)


def _remove_free(folders: Sequence[Path]) -> None:
    """Remove the folders that nobody works in: whoever does holds the lock beside them."""
    for folder in folders:
        lock = _lock_of(folder)
        with contextlib.suppress(OSError), mutex.held_file(lock, wait_s=0.0) as free:
            if free:
                remove(folder)
                _unlink(lock)


def need_space(folder: Path, size: int, what: str) -> None:
    """Fail before a download that cannot end well."""
    free = free_space(folder)
    if free < size:
        raise StoreError(
            f"{what} needs {human(size)} and {folder} has {human(free)} free.",
            where=str(folder),
            hint="Free some space, or put CONCIERGE_HOME on a larger disk.",
        )


def free_space(folder: Path) -> int:
    """Return the bytes free where ``folder`` is or would be."""
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(place).free


def _seal(tree: Path) -> None:
    """Put every byte below ``tree`` on the disk and take write permission away, from all but ``tree`` itself."""
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            file = Path(folder, name)
            if not file.is_symlink():
                program = file.stat().st_mode & stat.S_IXUSR
                file.chmod(READ_ONLY_PROGRAM if program else READ_ONLY_FILE)
                with file.open("rb") as data:
                    os.fsync(data.fileno())
        if Path(folder) != tree:
            Path(folder).chmod(READ_ONLY_PROGRAM)


_LOCK = ".lock"


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK)


def _unlink(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _touched(folder: Path) -> float:
    """Return when something last arrived in a folder."""
    try:
        return max(entry.stat().st_mtime for entry in (folder, *folder.iterdir()))
    except OSError:
        return time.time()
