"""What no generation and no lock needs any more: found, and taken away."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from concierge import files
from concierge.store import leftovers, manifest
from concierge.store.leftovers import ENTRY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from concierge.deploy.generation import Generations, Kept
    from concierge.paths import Home

Kind = Literal["generation", "entry", "part", "link"]

_NIX = re.compile(rb"/\.\./\.\./nix/([0-9a-f]{32})/")
"""How the program of an engine that Nix keeps names its link."""

PROGRAM = 4096
"""Bytes that such a program has at most."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that nothing needs.

    Attributes:
        kind: A generation, an entry of the store, a part of a download, or a link to an engine that Nix keeps.
        bytes: What taking it away gives back.
    """

    kind: Kind
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Needed:
    """What is needed whatever the generations say.

    Attributes:
        entries: Names of entries that locks name.
        artefacts: The sha256 of each artefact that they name.
        serving: Digests of what the servers that live were started for.
    """

    entries: frozenset[str] = frozenset()
    artefacts: frozenset[str] = frozenset()
    serving: frozenset[str] = frozenset()


def garbage(generations: Generations, needed: Needed, *, keep: int | None = None) -> list[Garbage]:
    """Return what may go, in the order in which it may: only the newest ``keep`` generations stay, or all.

    The current one always stays, as do those that a rollback chose and those whose server lives. The caller has the
    store to itself.
    """
    home, kept = generations.home, generations.all()
    stay = _staying(generations, kept, needed, keep)
    old = [generations.file(each.number) for each in kept if each.number not in stay]
    entries = needed.entries.union(*(each.needs for each in kept if each.number in stay))
    found = [Garbage("generation", file, size(file)) for file in old]
    known = {each.generation.spec.digest for each in kept if each.generation is not None}
    if home.store.is_symlink() or needed.serving - known:
        # Another home may need what is in it; and nobody knows what such a server was started from.
        return found
    found += [Garbage("entry", entry, size(entry)) for entry in _entries(home.store) if entry.name not in entries]
    found += [Garbage("part", part, size(part)) for part in _parts(home.store, needed.artefacts)]
    return [*found, *(Garbage("link", link, 0) for link in _links(home, entries))]


def collect(found: Sequence[Garbage], store: Path) -> None:
    """Take it away, each whole or not at all."""
    for each in found:
        with files.storing(each.path):
            if each.kind == "entry":
                _take(each.path, store)
            elif each.kind == "part":
                leftovers.remove_free([each.path])
            else:
                each.path.unlink(missing_ok=True)


def size(tree: Path) -> int:
    """Return the bytes of a file, or of everything below a folder, its manifest included."""
    total = 0
    for folder, _, names in os.walk(tree):
        total += sum(_size(Path(folder, name)) for name in names)
    return total + _size(manifest.file_of(tree)) if tree.is_dir() else _size(tree)


def _staying(generations: Generations, kept: Sequence[Kept], needed: Needed, keep: int | None) -> set[int]:
    pointer = generations.pointer()
    stay = set() if pointer is None else {pointer.number, *(number for _, number in pointer.held)}
    # One that cannot be read and does not even say what it needs is nobody's; other releases' stay.
    readable = [each for each in kept if each.generation is not None or each.needs]
    stay |= {each.number for each in (readable if keep is None else readable[-keep:] if keep else [])}
    stay |= {each.number for each in readable if each.generation and each.generation.spec.digest in needed.serving}
    return stay


def _entries(store: Path) -> Iterator[Path]:
    """Yield the entries, and those of which only the manifest is left."""
    if store.is_dir():
        names = {file.name.removesuffix(".json") for file in store.iterdir()}
        yield from sorted(store / name for name in names if ENTRY.fullmatch(name))


def _parts(store: Path, artefacts: Collection[str]) -> Iterator[Path]:
    for part in sorted(store.glob(f"{leftovers.PART}*")):
        if part.suffix != leftovers.LOCK and part.name.removeprefix(leftovers.PART) not in artefacts:
            yield part


def _links(home: Home, entries: Collection[str]) -> Iterator[Path]:
    """Yield the links that no program of an entry that stays names."""
    if not home.nix.is_dir():
        return
    named: set[str] = set()
    for program in (file for name in entries for file in (home.store / name).glob("*") if _size(file) <= PROGRAM):
        with suppress(OSError):
            named |= {found.decode() for found in _NIX.findall(program.read_bytes())}
    yield from (link for link in sorted(home.nix.iterdir()) if link.is_symlink() and link.name not in named)


def _take(entry: Path, store: Path) -> None:
    """Move an entry out of sight first: a half of one is never seen."""
    aside = store / f"{leftovers.STAGING}{os.urandom(8).hex()}"
    if os.path.lexists(entry):
        manifest.unclose(entry)
        entry.rename(aside)
    manifest.file_of(entry).unlink(missing_ok=True)
    files.remove(aside)


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0
