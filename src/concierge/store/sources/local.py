"""Files that are already on this machine."""

from __future__ import annotations

import errno
import os
import shutil
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
        with origin.open("rb") as data, target.open("wb") as out:
            shutil.copyfileobj(data, out, MIB)
            meter.at(out.tell())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FetchError(
            f"Cannot read {origin}: {os.strerror(error.errno or 0)}.",
            where=str(origin),
            hint="Put it back, or set llm.model to where it is now and run `concierge lock`.",
        ) from None
    return target
