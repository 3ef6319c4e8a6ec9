"""What an entry of the store holds, file by file: ``<entry>.json`` beside it.

A sealed file carries a fixed time and no write permission, so that almost every change shows by size, time or mode
alone; ``glance`` looks at these, ``examine`` reads every byte. An entry's own folder is closed as well, those inside
it stay writable for their owner; the NAR hash knows no modes of folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from concierge import files, jsontext
from concierge.errors import VerifyError
from concierge.store.nar import nar_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SCHEMA = 1
STAMP_S = 1
"""The time of a sealed file, in seconds since the epoch, as Nix has it."""

Kind = Literal["file", "program", "link", "folder"]
MODES: dict[Kind, int] = {"file": 0o444, "program": 0o555, "folder": 0o755}
CLOSED = 0o555
"""The mode of an entry's own folder, once it is in its place: nothing is added to it by accident."""

What = Literal["changed", "missing", "extra", "mode", "touched", "unreadable", "unknown"]
"""Other content, size or kind; not there; not ours; another mode; another time; it cannot be read; an entry without a
manifest."""

WORDS: dict[What, str] = {
    "changed": "not what was brought",
    "missing": "gone",
    "extra": "not ours",
    "mode": "of another mode",
    "touched": "touched",
    "unreadable": "not readable",
    "unknown": "not known to be whole",
}
"""The same for people."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in an entry.

    Attributes:
        path: Below the entry, with ``/``.
        size: Bytes of a file or program.
        said: The sha256 of a file or program, the target of a link.
    """

    path: str
    kind: Kind
    size: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an entry holds.

    Attributes:
        stamped: Whether the file system keeps the time that sealed files are given; ``moded`` likewise their modes.
        again: How often the entry was brought again because it was damaged: who serves it serves older bytes.
    """

    items: tuple[Item, ...]
    stamped: bool = True
    moded: bool = True
    again: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing in an entry that is not as it was sealed."""

    path: Path
    what: What

    def __str__(self) -> str:
        return f"{self.path} is {WORDS[self.what]}"


def file_of(entry: Path) -> Path:
    """Return where the manifest of an entry lies."""
    return entry.with_name(f"{entry.name}.json")


def read(entry: Path) -> Manifest | None:
    """Return the manifest of an entry; None where it is not there or cannot be read."""
    try:
        known = jsontext.parse(file_of(entry).read_bytes())
        if known["schema"] != SCHEMA:
            return None
        items = tuple(Item(*each) for each in known["items"])
        right = all(isinstance(item.size, int) and item.kind in get_args(Kind) and item.path for item in items)
        kept = bool(known["stamped"]), bool(known["moded"])
        return Manifest(items, *kept, again=int(known["again"])) if items and right else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(entry: Path, manifest: Manifest) -> None:
    """Write the manifest of an entry, whole."""
    items = [[item.path, item.kind, item.size, item.said] for item in manifest.items]
    kept = {"stamped": manifest.stamped, "moded": manifest.moded, "again": manifest.again}
    known = {"schema": SCHEMA, **kept, "items": items}
    files.replace(file_of(entry), f"{json.dumps(known, indent=0)}\n".encode(), mode=0o644)


def seal(tree: Path, known: Mapping[str, str]) -> Manifest:
    """Put every byte below ``tree`` on the disk, take write permission away from its files, and say what it holds.

    ``known`` holds the sha256 of files, by path, that need not be read again for it.
    """
    items = [_sealed(tree, path, known) for path in sorted(_below(tree))]
    first = next((item for item in items if item.kind in ("file", "program")), None)
    if first is None:
        return Manifest(tuple(items))
    status = (tree / first.path).stat()
    moded = os.name == "posix" and stat.S_IMODE(status.st_mode) == MODES[first.kind]
    return Manifest(tuple(items), stamped=status.st_mtime == STAMP_S, moded=moded)


def glance(entry: Path) -> Iterator[Fault]:
    """Yield what shows without reading a file; an entry that is not there is ``missing``."""
    if not entry.is_dir():
        yield Fault(entry, "missing")
        return
    manifest = read(entry)
    if manifest is None:
        yield Fault(entry, "unknown")
        return
    if manifest.moded and stat.S_IMODE(entry.stat().st_mode) != CLOSED:
        yield Fault(entry, "mode")
    here = set(_below(entry))
    for item in manifest.items:
        path = entry / item.path
        if item.path not in here:
            yield Fault(path, "missing")
        elif (what := _differs(path, item, manifest)) is not None:
            yield Fault(path, what)
    known = {item.path for item in manifest.items}
    yield from (Fault(entry / path, "extra") for path in sorted(here - known))


def whole(entry: Path) -> bool:
    """Tell whether nothing shows at a glance."""
    try:
        return next(glance(entry), None) is None
    except OSError:
        return False


def examine(entry: Path) -> tuple[list[Fault], str | None]:
    """Return what is wrong with an entry, every byte read, and its NAR hash; None where it cannot be had.

    A file whose content alone is another one is given another time, so that a glance shows it from now on.
    """
    found: dict[str, hashlib._Hash] = {}

    def seen(path: str, block: bytes) -> None:
        found.setdefault(path, hashlib.sha256()).update(block)

    faults = [fault for fault in glance(entry) if fault.what != "touched"]
    manifest = read(entry)
    if manifest is None or not entry.is_dir():
        return faults, None
    try:
        nar = nar_sha256(entry, seen=seen)
    except VerifyError:
        nar = None
    told = {fault.path for fault in faults}
    for item in manifest.items:
        path = entry / item.path
        if item.kind not in ("file", "program") or path in told:
            continue
        read_ = found.get(os.fspath(path), hashlib.sha256()).hexdigest() if nar else sha256(path)
        if read_ is None:
            faults.append(Fault(path, "unreadable"))
        elif read_ != item.said:
            faults.append(Fault(path, "changed"))
            with suppress(OSError):
                os.utime(path)
    return faults, nar


def mended(entry: Path, manifest: Manifest) -> Manifest | None:
    """Put right what needs no new bytes (modes, times, files that are not ours); None where bytes are missing."""
    if read(entry) is None:
        write(entry, manifest)
    extra, items = [], (Item(".", "folder"), *manifest.items)
    for fault in list(glance(entry)):
        item = next((one for one in items if entry / one.path == fault.path), None)
        if fault.what == "extra":
            extra.append(fault.path)
        elif item is None or fault.what not in ("mode", "touched") or not _restored(fault.path, item):
            return None
    if extra:
        entry.chmod(MODES["folder"])
        for path in extra:
            files.remove(path)
        entry.chmod(CLOSED)
    # What was not ours may have been loaded by what runs.
    manifest = replace(manifest, again=manifest.again + 1) if extra else manifest
    if read(entry) != manifest:
        write(entry, manifest)
    return manifest if whole(entry) else None


def unclose(entry: Path) -> None:
    """Let an entry be moved, which nobody but root may do with a closed folder; what a link aims at stays closed."""
    with suppress(OSError):
        if not entry.is_symlink():
            entry.chmod(MODES["folder"])


def sha256(path: Path) -> str | None:
    """Return the sha256 of a file; None where it cannot be read."""
    try:
        with path.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except OSError:
        return None


def _restored(path: Path, item: Item) -> bool:
    if item.kind in ("file", "program") and sha256(path) != item.said:
        return False
    if item.path == ".":
        path.chmod(CLOSED)
    else:
        _mode(path, item.kind)
    if item.kind != "folder":
        os.utime(path, (STAMP_S, STAMP_S))
    return True


def _below(tree: Path) -> Iterator[str]:
    """Yield everything below a folder, by its path there."""
    root = os.fspath(tree)
    for folder, folders, names in os.walk(root):
        inner = os.path.relpath(folder, root)
        start = "" if inner == "." else f"{inner}/".replace(os.sep, "/")
        yield from (f"{start}{name}" for name in (*folders, *names))


def _sealed(tree: Path, path: str, known: Mapping[str, str]) -> Item:
    place = tree / path
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode):
        return Item(path, "link", said=os.readlink(place))  # noqa: PTH115  # as it is written
    if stat.S_ISDIR(status.st_mode):
        _mode(place, "folder")
        return Item(path, "folder")
    kind: Kind = "program" if status.st_mode & stat.S_IXUSR else "file"
    _mode(place, kind)
    with place.open("rb") as data:
        said = known.get(path) or hashlib.file_digest(data, "sha256").hexdigest()
        os.fsync(data.fileno())
    os.utime(place, (STAMP_S, STAMP_S))
    return Item(path, kind, status.st_size, said)


def _mode(path: Path, kind: Kind) -> None:
    if kind in MODES:
        path.chmod(MODES[kind])


def _differs(path: Path, item: Item, manifest: Manifest) -> What | None:
    """Return how something differs from what it was when it was sealed, as far as a glance shows."""
    status = path.lstat()
    if _kind(status.st_mode) != ("file" if item.kind == "program" else item.kind):
        return "changed"
    if item.kind == "link":
        return None if os.readlink(path) == item.said else "changed"  # noqa: PTH115  # as it is written
    if item.kind != "folder" and status.st_size != item.size:
        return "changed"
    if manifest.moded and stat.S_IMODE(status.st_mode) != MODES[item.kind]:
        return "mode"
    return "touched" if manifest.stamped and item.kind != "folder" and status.st_mtime != STAMP_S else None


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "other")
