"""What ``.gitignore`` files exclude, as git reads them (https://git-scm.com/docs/gitignore)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pathspec import GitIgnoreSpec

FILE = ".gitignore"
LONGEST = 1 << 20
"""Bytes of such a file that are read."""


class Ignoring:
    """Tells what is excluded below a folder; each file of exclusions is read once, when it is first needed.

    Git never looks into a folder that is excluded, and whoever asks here must not either.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lines: dict[str, tuple[str, ...]] = {}
        self._specs: dict[tuple[str, ...], GitIgnoreSpec] = {}

    def __call__(self, path: str, *, folder: bool = False) -> bool:
        """Tell whether a path relative to the root is excluded."""
        lines = self._above(path.rpartition("/")[0])
        return bool(lines) and self._spec(lines).match_file(f"{path}/" if folder else path)

    def _above(self, folder: str) -> tuple[str, ...]:
        """Return the patterns that hold in a folder, as if they all stood at the root: the innermost come last."""
        if folder not in self._lines:
            outer = self._above(folder.rpartition("/")[0]) if folder else ()
            inner = (_from_root(folder, line) for line in _lines(self._root / folder / FILE))
            self._lines[folder] = (*outer, *inner)
        return self._lines[folder]

    def _spec(self, lines: tuple[str, ...]) -> GitIgnoreSpec:
        if lines not in self._specs:
            self._specs[lines] = _parsed(lines)
        return self._specs[lines]


def _from_root(folder: str, line: str) -> str:
    """Return a pattern of a folder's file as it would stand in the root's."""
    if not folder or not line.strip() or line.startswith("#"):
        return line
    negated, pattern = ("!", line[1:]) if line.startswith("!") else ("", line)
    if not pattern.strip("/ "):
        return ""
    place = re.sub(r"([\\*?\[\]!#])", r"\\\1", folder)
    anchored = "/" in pattern.rstrip().rstrip("/")
    return f"{negated}/{place}/{pattern.removeprefix('/')}" if anchored else f"{negated}/{place}/**/{pattern}"


def _lines(file: Path) -> list[str]:
    """Return the lines of a file; none where it is a link, which git does not follow either, or cannot be read."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(file, flags), "rb") as opened:
            return opened.read(LONGEST).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _parsed(lines: tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    able = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:  # git passes over a pattern that means nothing, too
            continue
        able.append(line)
    return GitIgnoreSpec.from_lines(able)
