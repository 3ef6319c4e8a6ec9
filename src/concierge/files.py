"""Files as a whole: written and removed in one piece, with the system's refusals as sentences."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator


def remove(tree: Path) -> None:
    """Remove a file or a folder even if it is sealed; absence is fine."""
    if not tree.is_dir():
        tree.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(tree):
        with contextlib.suppress(OSError):
            Path(folder).chmod(stat.S_IRWXU)
    shutil.rmtree(tree, ignore_errors=True)


@contextlib.contextmanager
def storing(place: Path) -> Iterator[None]:
    """Turn the operating system's refusals into a sentence that says what to do.

    Raises:
        StoreError: An ``OSError`` happened inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Free some space, or put CONCIERGE_HOME on a larger disk."
        else:
            hint = "Set CONCIERGE_HOME to a folder that you can write to."
        raise StoreError(f"Cannot write to {place}: {error.strerror}.", where=str(place), hint=hint) from error
