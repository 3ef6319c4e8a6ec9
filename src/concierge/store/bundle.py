"""A folder that holds what a lock pins, each file under its hash: ``sha256/<64 hex digits>``.

It is the layout of Nix's hashed mirrors, so the same folder serves both.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge import files, paths
from concierge.catalog.types import HttpsSource, PathSource
from concierge.errors import FetchError, VerifyError
from concierge.store import manifest
from concierge.store.fetch import check_bytes
from concierge.store.store import need_space
from concierge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from concierge.catalog.types import Artefact, Source
    from concierge.errors import ArtefactError
    from concierge.store.fetch import Fetcher

FOLDER = "sha256"
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_HINT = "Name a folder that you can write to, on a disk with room for it."


@dataclass(frozen=True, slots=True)
class Bundled:
    """What a bundle holds now.

    Attributes:
        files: How many files it holds of what is pinned.
        brought: How many of them are new.
        bytes: Of those that are new.
        left_out: What only Nix can bring, by name.
    """

    files: int
    brought: int
    bytes: int
    left_out: tuple[str, ...]


def write(entries: Iterable[Sequence[Artefact]], target: Path, fetcher: Fetcher) -> Bundled:
    """Bring every file of ``entries`` into ``target``; one that is there and whole stays as it is.

    One that cannot be had keeps none of the others out: it is said at the end.

    Raises:
        FetchError: No source delivered one of them, or what it delivered is not what is pinned.
        StoreError: The folder cannot be written.
    """
    place = target / FOLDER
    with files.storing(place, hint=_HINT):
        place.mkdir(parents=True, exist_ok=True)
    files.sweep(place)
    held: dict[str, int] = {}
    brought = size = 0
    left_out: list[str] = []
    failures: list[ArtefactError] = []
    for artefacts in entries:
        for artefact in artefacts:
            if artefact.sha256 in held:
                continue
            if all(source.kind == "nix" for source in artefact.sources):
                left_out.append(artefact.name)
                continue
            held[artefact.sha256] = artefact.size
            file = place / artefact.sha256
            if _whole(file, artefact):
                continue
            try:
                _put(artefact, artefacts, file, fetcher)
            except (FetchError, VerifyError) as error:
                fetcher.say(f"{artefact.name} is left out: {error.what}")
                failures.append(error)
            else:
                brought, size = brought + 1, size + artefact.size
    if failures:
        raise FetchError(
            f"{len(failures)} of {len(held)} files could not be had; the first: {failures[0].what}",
            where=str(target),
            hint=f"What could be had is there. {failures[0].hint or ''}".strip(),
        )
    return Bundled(len(held), brought, size, tuple(dict.fromkeys(left_out)))


def sources(mirror: str, folder: Path, environ: Mapping[str, str], artefact: Artefact) -> tuple[Source, ...]:
    """Return where a mirror has an artefact; a relative path starts at ``folder``.

    Raises:
        ConfigError: The path starts at a home that nobody has here.
    """
    if _ADDRESS.match(mirror):
        # Over http as well: the hash says whether the bytes are right.
        return (HttpsSource.model_construct(url=f"{mirror.rstrip('/')}/{FOLDER}/{artefact.sha256}"),)
    place = folder / paths.expanded(mirror, environ, where="mirror")
    return (PathSource(path=str(place / FOLDER / artefact.sha256)),)


def _whole(file: Path, artefact: Artefact) -> bool:
    try:
        check_bytes(file, size=artefact.size, sha256=artefact.sha256, name=artefact.name)
    except (VerifyError, OSError):
        return False
    return True


def _put(artefact: Artefact, entry: Sequence[Artefact], file: Path, fetcher: Fetcher) -> None:
    """Put the bytes of an artefact into its place: from the store where they lie there as they are, else from afar."""
    store = fetcher.store
    need_space(file.parent, artefact.size, artefact.name)
    if artefact.archive is None and store.has(entry):
        _copy(store.path(entry) / artefact.name, artefact, file)
        return
    with store.staging() as staging:
        _copy(fetcher.bring(artefact, staging), artefact, file)
    store.forget([artefact])


def _copy(origin: Path, artefact: Artefact, file: Path) -> None:
    import shutil

    with files.storing(file, hint=_HINT):
        with origin.open("rb") as data, files.written(file, mode=0o644) as copy:
            shutil.copyfileobj(data, copy, MIB)
        if not _whole(file, artefact):
            file.unlink()
            raise VerifyError(f"{file} is not what was written to it.", where=str(file), hint="Look at that disk.")
        os.utime(file, (manifest.STAMP_S, manifest.STAMP_S))
