"""What a command did to the folder, told to the model that ran it: it then sees what it hit, missed or lost."""

from __future__ import annotations

import difflib
import os
from itertools import islice
from typing import TYPE_CHECKING

from concierge.agent.overview import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from concierge.agent.workspace import Workspace

FILES = 300
"""Of a folder with more files nothing is told: looking at them would take longer than most commands."""
LINES = 20
"""Changed lines that are shown."""
LINE_CHARS = 200
NOTHING = "[no file was changed]"

Texts = dict[str, str]
Stamp = tuple[int, ...]


class Looks:
    """Looks at a folder again and again; a file that was not written in between is not read again."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, tuple[Stamp, str]] = {}

    def texts(self) -> Texts | None:
        """Return each file's text, empty for what is no text; None of a folder that holds too many."""
        files = list(islice(self._workspace.files(), FILES + 1))
        if len(files) > FILES:
            return None
        self._known = {file: self._look(file) for file in files}
        return {file: text for file, (_, text) in self._known.items()}

    def _look(self, file: str) -> tuple[Stamp, str]:
        stamp = _stamp(self._workspace.root, file)
        known = self._known.get(file)
        return known if known and stamp and known[0] == stamp else (stamp, text_of(self._workspace, file))


def _stamp(root: Path, file: str) -> Stamp:
    try:
        found = os.lstat(root / file)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def told(before: Texts | None, after: Texts | None) -> str:
    """Return what differs, as a diff without context, in brackets that tell it from an output."""
    if before is None or after is None:
        return ""
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if not paths:
        return NOTHING
    lines = list(islice((line for path in paths for line in _told(path, before, after)), LINES + 1))
    more = ["[and more]"] if len(lines) > LINES else []
    return "\n".join([*lines[:LINES], *more])


def _told(path: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    if path not in after:
        yield f"[deleted: {path}]"
        return
    beside = "" if path in before else next((f', not "{each}"' for each in before if _alike(each, path)), "")
    yield f"[{'changed' if path in before else 'new'}: {path}{beside}]"
    old, new = before.get(path, "").splitlines(), after[path].splitlines()
    lines = [line for line in islice(difflib.unified_diff(old, new, lineterm="", n=0), 2, None) if line[:2] != "@@"]
    yield from (line[:LINE_CHARS] for line in lines)
    if len(new) < len(old) and not set(old) & set(new):
        yield f"[none of the old lines of {path} is left: if they were to stay, write the file again with all of them]"


def _alike(one: str, other: str) -> bool:
    """Tell whether two paths are the same but for case, blanks and the like, as when a name was misspelt."""
    return [letter for letter in one.casefold() if letter.isalnum()] == [
        letter for letter in other.casefold() if letter.isalnum()
    ]
