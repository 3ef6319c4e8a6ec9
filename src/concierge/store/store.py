"""The content-addressed, read-only folder of artefacts.

An entry is ``<first 32 hex digits of its digest>-<name>/`` and holds the unpacked tree or the bare file. It is
complete or absent: bytes are staged beside it, checked, made read-only and moved in by one rename.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
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
                stack.enter_context(mutex.held_file(file, wait_s=TURN_S, waiting=lambda: say(waiting)))
            try:
                yield
            finally:
                # Whoever waits for this file looks whether the entry is there; who comes later makes one of their own.
                with contextlib.suppress(OSError):
                    file.unlink()

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give an empty folder on the store's own file system, which is gone afterwards whatever happens."""
        with storing(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            folder = Path(tempfile.mkdtemp(prefix=f"{STAGING}{os.getpid()}-", dir=self.root))
        try:
            yield folder
        finally:
            remove(folder)

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
        """Remove what a process that is gone left behind."""
        for folder in self.root.glob(f"{STAGING}*"):
            owner = folder.name.removeprefix(STAGING).split("-")[0]
            if owner.isdigit() and not _alive(int(owner)):
                remove(folder)


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


def _alive(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
