"""Take everything away that concierge made in a home, and nothing else."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import files, paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.paths import Home

OURS = {
    "": re.compile(rf"current|(measured|endpoints)\.json|{paths.MADE}"),
    "generations": re.compile(r"[0-9]+\.json|lock"),
    "trust": re.compile(r"[0-9a-f]{64}"),
    "projects": re.compile(r"[0-9a-f]{32}"),
    "nix": re.compile(r"[0-9a-f]{32}"),
    "run": re.compile(r"servers|lock"),
    "store": re.compile(r"[0-9a-f]{32}-.+|\.lock|\.[0-9a-f]{32}\.lock|\.(staging|part)-[0-9a-f]+(\.lock)?"),
}
"""What concierge writes into each folder of a home: anything else that lies there is somebody's."""

DRAFT = re.compile(r"\..+\.[0-9a-f]{8}\.draft")


def remove(home: Home) -> list[Path]:
    """Remove it, and return what is left because it is not ours: a store that is a link is its user's too.

    The caller holds every lock of the home, and knows that no server lives.
    """
    first = _first(home)
    # The pointer first: whatever ends this in the middle, what is left claims nothing.
    for name in ("", "generations", "store", "run", "nix", "trust", "projects"):
        folder = home.root / name
        if folder.is_symlink() or not folder.is_dir():
            continue
        for entry in list(folder.iterdir()):
            if OURS[name].fullmatch(entry.name) or DRAFT.fullmatch(entry.name):
                files.remove(entry)
        if name:
            _rmdir(folder)
    if first is not None:
        for place in (home.root, *home.root.parents):
            if not _rmdir(place) or place == first:
                break
    return list(_left(home))


def _first(home: Home) -> Path | None:
    """Return the first folder that was made for this home; None where the home itself was there before."""
    try:
        told = (home.root / paths.MADE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    first = Path(told) if told else home.root
    return first if first in (home.root, *home.root.parents) else home.root


def _left(home: Home) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(home.root.iterdir())


def _rmdir(folder: Path) -> bool:
    """Remove a folder that is empty, and tell whether it is gone."""
    with suppress(OSError):
        folder.rmdir()
    return not os.path.lexists(folder)
