"""Get pinned bytes from their sources into the store.

``fetch`` tries an artefact's sources in order. Whatever a source delivers is checked against the pinned size and
sha256 before anything looks inside it; one small module per kind of source does the delivering.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from concierge.catalog.types import origin, room, sent
from concierge.errors import ArtefactError, FetchError, VerifyError
from concierge.files import remove, storing
from concierge.store import manifest, unpack
from concierge.store.store import Store, need_space
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from concierge.catalog.types import Artefact, Source
    from concierge.store.progress import Meter, Progress


class Deliver(Protocol):
    """Brings the bytes of one kind of source."""

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        """Leave the artefact's bytes in ``folder`` and return the file.

        Raises:
            ArtefactError: It could not.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Puts artefacts into a store.

    Attributes:
        deliver: How each kind of source (``pypi``, ``https``, ``path``) brings its bytes.
        say: Takes one line of narration.
        at: Returns where a source is had in this environment: a mirror may stand in for it.
        first: Returns where an artefact is asked for before its own sources.
    """

    store: Store
    deliver: Mapping[str, Deliver]
    progress: Progress
    say: Callable[[str], None]
    at: Callable[[Source], Source] = lambda source: source
    first: Callable[[Artefact], Sequence[Source]] = lambda _: ()

    def fetch(self, artefacts: Sequence[Artefact]) -> Path:
        """Return the store entry that holds ``artefacts``, bringing them first if need be.

        Raises:
            FetchError: No source delivered one of them.
            VerifyError: The bytes are not the pinned ones.
            StoreError: The store could not take them.
        """
        if self.store.has(artefacts):
            return self.store.path(artefacts)
        if not self.store.path(artefacts).exists():
            self._need_space(artefacts)
        with self.store.turn(artefacts, self.say):
            if self.store.has(artefacts) or self._mended(artefacts):
                return self.store.path(artefacts)
            self._need_space(artefacts)
            return self._fetch(artefacts)

    def _need_space(self, artefacts: Sequence[Artefact]) -> None:
        need_space(self.store.root, room(artefacts) - self.store.arrived(artefacts), artefacts[0].name)

    def _mended(self, artefacts: Sequence[Artefact]) -> bool:
        """Put an entry right that is there and was changed, if that needs no new bytes; say what was wrong."""
        entry = self.store.path(artefacts)
        damage = next(manifest.glance(entry), None) if entry.exists() else None
        if damage is None:
            return False
        mended = self.store.mend(artefacts)
        rest = "it is put right" if mended else f"{artefacts[0].name} is brought again"
        self.say(f"{damage.path} is {manifest.WORDS[damage.what]}: {rest}.")
        return mended

    def _fetch(self, artefacts: Sequence[Artefact]) -> Path:
        with self.store.staging() as staging, storing(self.store.root):
            tree = staging / "tree"
            tree.mkdir()
            for artefact in artefacts:
                packed = self.bring(artefact, staging)
                if artefact.archive is None:
                    packed.rename(tree / artefact.name)
                else:
                    self._unpack(packed, artefact, tree)
            entry = self.store.place(tree, artefacts)
        self.store.forget(artefacts)
        return entry

    def _unpack(self, packed: Path, artefact: Artefact, tree: Path) -> None:
        try:
            unpack.unpack(packed, artefact, tree)
        except VerifyError:
            self.store.forget([artefact])
            raise
        packed.unlink()

    def bring(self, artefact: Artefact, staging: Path) -> Path:
        """Return the file as it is pinned, packed where it is an archive, in ``staging``; raises as ``fetch``.

        A download goes on where an earlier one ended, whoever sends the rest.
        """
        failures: list[ArtefactError] = []
        with self.store.part(artefact, self.say) as part:
            for number, source in enumerate((*self.first(artefact), *map(self.at, artefact.sources))):
                scratch = staging / f"{artefact.sha256[:12]}-{number}"
                scratch.mkdir()
                self.say(f"Fetching {artefact.name} ({human(artefact.size)}) from {origin(source)}.")
                try:
                    file = self._deliver(source, artefact, scratch, part if source.kind in ("https", "parts") else None)
                except (FetchError, VerifyError) as error:
                    failures.append(error)
                    remove(scratch)
                    continue
                target = scratch / artefact.name
                return _linked(file, target) if file.parent == part else file.rename(target)
        raise failures[0] if len(failures) == 1 else _none_delivered(artefact, failures)

    def _deliver(self, source: Source, artefact: Artefact, scratch: Path, part: Path | None) -> Path:
        folder = part or scratch
        began = any(folder.iterdir())
        try:
            return self._delivered(source, artefact, folder)
        except VerifyError:
            remove(folder)
            folder.mkdir(mode=0o700)
            if not began:
                raise
        self.say(f"What had arrived of {artefact.name} before is not what was pinned: fetching all of it again.")
        try:
            return self._delivered(source, artefact, folder)
        except VerifyError:
            remove(folder)
            folder.mkdir(mode=0o700)
            raise

    def _delivered(self, source: Source, artefact: Artefact, folder: Path) -> Path:
        with self.progress.download(artefact.name, sent(source, artefact)) as meter:
            file = self.deliver[source.kind](source, artefact, folder, meter)
        _check(file, artefact, source)
        return file


def _linked(file: Path, target: Path) -> Path:
    """Give ``target`` the bytes of a part, which stays where it is: it is wanted until its entry is in the store."""
    try:
        target.hardlink_to(file)
    except OSError:
        # A file system without such links: what ends the process now costs another download.
        return file.rename(target)
    return target


def _check(file: Path, artefact: Artefact, source: Source) -> None:
    try:
        check_bytes(file, size=artefact.size, sha256=artefact.sha256, name=artefact.name)
    except VerifyError as error:
        if source.kind != "path":
            raise
        raise VerifyError(
            f"{source.path} is not the file that was pinned: {error.what}",
            where=source.path,
            hint="Put the old file back, or run `concierge lock` to take the new one.",
        ) from None


def check_bytes(file: Path, *, size: int, sha256: str, name: str) -> None:
    """Check a file's size and sha256.

    Raises:
        VerifyError: One of them is another one.
    """
    found = file.stat().st_size
    if found != size:
        raise VerifyError(f"{name} has {found} bytes where {size} are pinned.", where=str(file), hint=_DO_NOT_TRUST)
    with file.open("rb") as data:
        actual = hashlib.file_digest(data, "sha256").hexdigest()
    if actual != sha256:
        raise VerifyError(
            f"{name} has the sha256 {actual} where {sha256} is pinned.", where=str(file), hint=_DO_NOT_TRUST
        )


_DO_NOT_TRUST = "Nothing was kept. Try again; if it stays so, the source serves other bytes: report it, do not use it."


def _none_delivered(artefact: Artefact, failures: Sequence[ArtefactError]) -> ArtefactError:
    causes = "; ".join(failure.what for failure in failures)
    # Wrong bytes from one source weigh more than silence from another.
    kind = VerifyError if any(isinstance(failure, VerifyError) for failure in failures) else FetchError
    return kind(f"No source delivered {artefact.name}: {causes}", where=artefact.name, hint=failures[-1].hint)
