"""Server logs: one file per launch, written by the server itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from concierge.errors import ServerError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.paths import Home

KEEP = 5
TAIL_LINES = 15
TAIL_BYTES = 16_384


def create(home: Home, generation: int) -> tuple[Path, int]:
    """Make the log of a launch, readable by its owner only, and forget the oldest ones.

    Returns:
        The path, and a handle for the server to write to.

    Raises:
        ServerError: The folder takes no files.
    """
    path = home.run / f"server-{generation:04d}.log"
    try:
        home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in sorted(home.run.glob("server-*.log"), key=_age)[: -(KEEP - 1)]:
            old.unlink(missing_ok=True)
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as error:
        raise ServerError(
            f"Cannot write {path}: {error.strerror}.",
            where=str(path),
            hint="Make that folder writable and leave some room on its disk.",
        ) from None


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def size(path: Path) -> int:
    """Return how much the server has logged."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, *, secret: str | None = None) -> str:
    """Return the end of a log for an error message, without the server's key."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    if secret:
        text = text.replace(secret, "***")
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-TAIL_LINES:])
