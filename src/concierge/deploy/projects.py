"""The folders in which this home was used: their locks say what is needed, and their runs are their user's."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import files, paths
from concierge.errors import StoreError

if TYPE_CHECKING:
    from concierge.paths import Home


def remember(home: Home, folder: Path) -> None:
    """Write a folder down, unless it is known; a home that cannot be written is no error."""
    place = os.path.abspath(folder)  # noqa: PTH100  # as it is reached, whatever its links are
    mark = home.projects / hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
    if mark.exists():
        return
    with suppress(StoreError), files.storing(mark):
        paths.make(home.projects, home.root)
        files.replace(mark, os.fsencode(place))


def known(home: Home) -> list[Path]:
    """Return the folders that are still there."""
    found = []
    with suppress(OSError):
        for mark in sorted(home.projects.iterdir()):
            with suppress(OSError):
                found.append(Path(os.fsdecode(mark.read_bytes())))
    return [folder for folder in found if folder.is_dir()]


def forget_lost(home: Home) -> None:
    """Forget the folders that are gone."""
    with suppress(OSError):
        for mark in list(home.projects.iterdir()):
            with suppress(OSError):
                if not Path(os.fsdecode(mark.read_bytes())).is_dir():
                    mark.unlink()
