"""What commands that died left behind, anywhere that concierge writes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from concierge import files
from concierge.store import leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.paths import Home


def sweep(home: Home, folder: Path | None = None) -> None:
    """Remove the drafts that nobody holds, in a home and in a project that has a lock."""
    places = [home.root, home.generations, home.trust, home.projects]
    with suppress(OSError):
        places += list((home.run / "servers").iterdir())
    if folder is not None and (folder / "concierge.lock").exists():
        places.append(folder)
    for place in places:
        files.sweep(place)
    leftovers.sweep(home.store)
