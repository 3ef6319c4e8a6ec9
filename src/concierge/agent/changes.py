"""What a run changed in a folder of its user's: kept before the run begins, shown as a diff, and put back.

The files are copied into the run's directory first, so that whatever a tool or a command does to them can be undone.
What ``.gitignore`` names, ``.git`` and ``.concierge`` are not kept: what becomes of those is not seen here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import stat
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from concierge import files, jsontext
from concierge.agent.ignoring import Ignoring
from concierge.agent.workspace import HIDDEN
from concierge.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEPT_FILES, KEPT_BYTES = 20_000, 512 << 20
"""The most files, and bytes of them, that a folder may hold: all of it is copied."""

BEFORE, AFTER = "before.json", "changes.json"


@dataclass(frozen=True, slots=True)
class State:
    """A file or a link at one time.

    Attributes:
        mode: Its permission bits.
        sha256: Of its content; empty for a link.
        target: Where a link leads; empty for a file.
    """

    mode: int
    sha256: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that is not as it was; ``before`` or ``after`` is None where there was nothing, or is nothing."""

    path: str
    before: State | None
    after: State | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run did to a folder.

    Attributes:
        folder: The folder.
        kept: Where its files lie as they were before.
        changed: What differs, by path.
    """

    folder: Path
    kept: Path
    changed: tuple[Change, ...]


def keep(folder: Path, kept: Path) -> None:
    """Copy a folder's files into ``kept``, before anything changes them.

    Raises:
        UsageError: The folder holds too much.
        RunError: It cannot be read, or ``kept`` not be written.
    """
    paths, size = [], 0
    for path in _paths(folder):
        paths.append(path)
        size += (folder / path).lstat().st_size
        if len(paths) > KEPT_FILES or size > KEPT_BYTES:
            raise UsageError(
                f"{folder} holds more than {KEPT_FILES:,} files or {KEPT_BYTES >> 20} MiB: it could not be undone.",
                where=str(folder),
                hint="Name a smaller folder, or leave what is not worked on to .gitignore.",
            )
    with files.storing(kept, RunError, hint="Free some space, or choose another folder with CONCIERGE_WORKSPACE."):
        (kept / "files").mkdir(parents=True)
        for path in paths:
            target = kept / "files" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / path, target, follow_symlinks=False)
        before = {path: asdict(state) for path in paths if (state := _state(kept / "files" / path))}
        _write(kept / BEFORE, {"folder": str(folder), "files": before})


def finish(kept: Path) -> Changes:
    """Note what has changed since ``keep``, and return it.

    Raises:
        RunError: It cannot be read or written.
    """
    found = _compared(kept)
    _write(kept / AFTER, {"changed": [asdict(change) for change in found.changed]})
    return found


def read(kept: Path) -> Changes | None:
    """Return what a run changed; None where it kept nothing. Of one that was killed, what differs now counts."""
    if not (kept / BEFORE).is_file():
        return None
    if not (kept / AFTER).is_file():
        return _compared(kept)
    folder, _ = _before(kept)
    changed = (Change(each["path"], _of(each["before"]), _of(each["after"])) for each in _read(kept / AFTER)["changed"])
    return Changes(folder, kept, tuple(changed))


def diff(changes: Changes) -> Iterator[str]:
    """Yield the lines of a unified diff."""
    for change in changes.changed:
        yield from _diff(changes, change)


def undo(changes: Changes) -> list[tuple[str, str]]:
    """Put back what the run changed, and return each path that was left alone, with the reason.

    Raises:
        RunError: The folder cannot be written.
    """
    left = []
    for change in changes.changed:
        now = _state(changes.folder / change.path)
        if now == change.before:
            continue
        if now != change.after:
            left.append((change.path, "somebody has changed it since"))
        elif not _inside(changes.folder, change.path):
            left.append((change.path, "a folder above it is a link now"))
        else:
            _put_back(changes, change)
    return left


def _compared(kept: Path) -> Changes:
    folder, before = _before(kept)
    now = {path: state for path in _paths(folder) if (state := _state(folder / path))}
    paths = sorted(before.keys() | now.keys())
    changed = (Change(path, before.get(path), now.get(path)) for path in paths if before.get(path) != now.get(path))
    return Changes(folder, kept, tuple(changed))


def _before(kept: Path) -> tuple[Path, dict[str, State]]:
    document = _read(kept / BEFORE)
    known = {path: State(**state) for path, state in document["files"].items()}
    return kept.__class__(document["folder"]), known


def _paths(folder: Path) -> Iterator[str]:
    """Yield the path of each file and link below a folder that is kept."""
    ignored = Ignoring(folder)
    for root, folders, names in os.walk(folder):
        inner = os.path.relpath(root, folder)
        prefix = "" if inner == "." else f"{inner}/"
        linked = [name for name in folders if (folder / f"{prefix}{name}").is_symlink()]
        folders[:] = sorted(
            name for name in folders if name not in HIDDEN and not ignored(f"{prefix}{name}", folder=True)
        )
        for name in sorted([*names, *linked]):
            path = f"{prefix}{name}"
            if not ignored(path) and _plain(folder / path):
                yield path


def _plain(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _state(path: Path) -> State | None:
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return State(0, target=str(path.readlink()))
        if not stat.S_ISREG(found.st_mode):
            return None
        with path.open("rb") as file:
            return State(stat.S_IMODE(found.st_mode), hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        return None


def _diff(changes: Changes, change: Change) -> Iterator[str]:
    old, new = changes.kept / "files" / change.path, changes.folder / change.path
    before, after = change.before, change.after
    if before and after and before.mode != after.mode and not (before.target or after.target):
        yield f"mode of {change.path}: {before.mode:o} -> {after.mode:o}"
    was, now = _text(old, before), _text(new, after)
    if was is None or now is None:
        yield f"Binary file {change.path} is {_verb(change)}."
        return
    names = (f"a/{change.path}" if before else "/dev/null", f"b/{change.path}" if after else "/dev/null")
    yield from difflib.unified_diff(was.splitlines(), now.splitlines(), *names, lineterm="")


def _verb(change: Change) -> str:
    if change.before is None:
        return "new"
    return "deleted" if change.after is None else "changed"


def _text(path: Path, state: State | None) -> str | None:
    """Return what a diff shows of a file or link; None for what is no text."""
    if state is None:
        return ""
    if state.target:
        return f"link to {state.target}"
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return None if b"\0" in content else content.decode("utf-8", "replace")


def _inside(folder: Path, path: str) -> bool:
    parents = path.split("/")[:-1]
    return not any((folder / "/".join(parents[: n + 1])).is_symlink() for n in range(len(parents)))


def _put_back(changes: Changes, change: Change) -> None:
    target, kept = changes.folder / change.path, changes.kept / "files" / change.path
    with files.storing(target, RunError):
        if change.before is None:
            target.unlink(missing_ok=True)
            _remove_empty(target.parent, changes)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(kept, target, follow_symlinks=False)


def _remove_empty(folder: Path, changes: Changes) -> None:
    """Remove the folders that the run made, where nothing is left in them."""
    while folder != changes.folder and not (changes.kept / "files" / folder.relative_to(changes.folder)).is_dir():
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _of(state: dict[str, Any] | None) -> State | None:
    return None if state is None else State(**state)


def _read(file: Path) -> dict[str, Any]:
    try:
        return jsontext.parse_object(file.read_bytes()) or {}
    except OSError as error:
        raise RunError(f"What the run kept cannot be read: {error.strerror}.", where=str(file)) from None


def _write(file: Path, document: dict[str, Any]) -> None:
    with files.storing(file, RunError):
        files.replace(file, json.dumps(document).encode())
