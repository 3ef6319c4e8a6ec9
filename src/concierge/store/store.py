"""The content-addressed, read-only folder of artefacts.

An entry is ``<first 32 hex digits of its digest>-<name>/`` and holds the unpacked tree or the bare file; beside it lies
its manifest. It is complete or absent: bytes are staged beside it, checked, made read-only and moved in by one rename.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge import mutex, paths
from concierge.catalog.types import digest
from concierge.errors import StoreError
from concierge.files import remove, storing, sync
from concierge.store import leftovers, manifest
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from concierge.catalog.types import Artefact

TURN_S = 3600.0
"""How long one process lets another download the same entry before it does so itself."""


@dataclass(frozen=True, slots=True)
class Store:
    """The folder; nothing is created before something is put in."""

    root: Path

    def path(self, artefacts: Sequence[Artefact]) -> Path:
        """Return where these artefacts, unpacked over one another in order, are or would be."""
        return self.root / f"{digest(artefacts)[:32]}-{artefacts[0].name}"

    def has(self, artefacts: Sequence[Artefact]) -> bool:
        """Tell whether the entry is there, and as it was sealed as far as a glance shows."""
        return manifest.whole(self.path(artefacts))

    def mend(self, artefacts: Sequence[Artefact]) -> bool:
        """Put right what needs no new bytes, and tell whether the entry is whole then; reads what may be changed."""
        entry = self.path(artefacts)
        with storing(entry):
            known = manifest.read(entry) or _pinned(entry, artefacts)
            return known is not None and manifest.mended(entry, known) is not None

    @contextlib.contextmanager
    def turn(self, artefacts: Sequence[Artefact], say: Callable[[str], None]) -> Iterator[None]:
        """Let one process at a time bring an entry, so that two never download the same bytes.

        Nothing but the network suffers without it: where locks do not work, or the wait is over, both go on.
        """
        with storing(self.root):
            paths.make(self.root, self.root.parent)
        file = leftovers.turn_of(self.root, digest(artefacts))
        waiting = f"Waiting for another concierge that fetches {artefacts[0].name}."
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                if stack.enter_context(mutex.held_file(file, wait_s=TURN_S, waiting=lambda: say(waiting))):
                    # Whoever waited looks whether the entry is there, and who comes later makes a file of their own.
                    stack.callback(leftovers.unlink, file)
            yield

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give an empty folder on the store's own file system, which is gone afterwards whatever happens.

        A lock beside it says that somebody works in it, also to another container or host with the same home.
        """
        with storing(self.root):
            paths.make(self.root, self.root.parent)
            leftovers.sweep(self.root)
        folder = self.root / f"{leftovers.STAGING}{os.urandom(8).hex()}"
        lock = leftovers.lock_of(folder)
        with contextlib.ExitStack() as stack:
            stack.callback(leftovers.unlink, lock)
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
        folder = self.root / f"{leftovers.PART}{artefact.sha256}"
        lock, waiting = leftovers.lock_of(folder), f"Waiting for another concierge that fetches {artefact.name}."
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
        folders = (self.root / f"{leftovers.PART}{artefact.sha256}" for artefact in artefacts)
        pairs = zip(folders, artefacts, strict=True)
        return sum(
            _size(file)
            for folder, artefact in pairs
            for file in folder.glob(f"{glob.escape(artefact.name)}*")
            if file.is_file()
        )

    def forget(self, artefacts: Sequence[Artefact]) -> None:
        """Remove the parts of downloads that are in the store now; one that another process reads is its to remove."""
        parts = [self.root / f"{leftovers.PART}{artefact.sha256}" for artefact in artefacts]
        leftovers.remove_free([part for part in parts if part.exists()])

    def place(self, staged: Path, artefacts: Sequence[Artefact]) -> Path:
        """Make ``staged`` read-only and move it in. Another process may have been faster: its bytes are the same."""
        target = self.path(artefacts)
        with storing(target):
            made = manifest.seal(staged, {each.name: each.sha256 for each in artefacts if each.archive is None})
            if manifest.whole(target):
                remove(staged)
                return target
            before = manifest.read(target)
            again = 0 if before is None else before.again
            if os.path.lexists(target):
                # It is damaged: what is left of it serves nobody, and whoever serves it is to be started again.
                again += 1
                manifest.unclose(target)
                target.rename(staged.with_name(f"{staged.name}.damaged"))
            manifest.write(target, replace(made, again=again))
            try:
                manifest.unclose(staged)
                staged.rename(target)
                target.chmod(manifest.CLOSED)
            except OSError:
                if not manifest.whole(target):
                    raise
                remove(staged)
            sync(self.root)
        return target


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


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _pinned(entry: Path, artefacts: Sequence[Artefact]) -> manifest.Manifest | None:
    """Return the manifest of an entry that lost it and holds bare files, if they are what is pinned."""
    if not entry.is_dir() or any(artefact.archive is not None for artefact in artefacts):
        return None
    items = []
    for artefact in sorted(artefacts, key=lambda each: each.name):
        if manifest.sha256(entry / artefact.name) != artefact.sha256:
            return None
        runs = os.access(entry / artefact.name, os.X_OK)
        items.append(manifest.Item(artefact.name, "program" if runs else "file", artefact.size, artefact.sha256))
    return manifest.Manifest(tuple(items), moded=os.name == "posix")
