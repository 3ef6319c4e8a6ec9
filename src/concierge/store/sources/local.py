"""Files that are already on this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import FetchError
from concierge.units import MIB

if TYPE_CHECKING:
    from concierge.catalog.types import Artefact, Source
    from concierge.store.progress import Meter


def copy(source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
    """Copy the file into ``folder``: the store never depends on bytes that somebody else may change."""
    assert source.kind == "path"
    origin = Path(source.path)
    target = folder / artefact.name
    try:
        if not origin.is_file():
            kind = "is no file" if origin.exists() else os.strerror(errno.ENOENT)
            raise _unreadable(origin, kind)
        with origin.open("rb") as data, target.open("wb") as out:
            # A file that grows without end is cut: with one byte more than its size it is refused.
            for start in range(0, artefact.size + 1, MIB):
                piece = data.read(min(MIB, artefact.size + 1 - start))
                out.write(piece)
                meter.at(out.tell())
                if not piece:
                    break
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unreadable(origin, os.strerror(error.errno or 0)) from None
    return target


def _unreadable(origin: Path, why: str) -> FetchError:
    return FetchError(
        f"Cannot read {origin}: {why}.",
        where=str(origin),
        hint="Put it back, or set llm.model to where it is now and run `concierge lock`.",
    )
