"""What a server of ours has written: the log of its launch, read from the end, or followed while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concierge.errors import ServerError
from concierge.server import record as records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from concierge.paths import Home
    from concierge.server.record import Folder

TAIL_BYTES = 1 << 20
"""As much of the end of a log is read, however many lines are asked for."""
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class ServerLog:
    """The log of one launch.

    Attributes:
        path: Where it lies.
        model: What the server serves; None where its record is gone.
    """

    path: Path
    model: str | None
    folder: Folder = field(repr=False)

    def tail(self, lines: int) -> list[str]:
        """Return its last lines, without the server's key.

        Raises:
            ServerError: It cannot be read.
        """
        text = self._read(max(self._size() - TAIL_BYTES, 0)).decode("utf-8", errors="replace")
        return [self._shown(line) for line in text.splitlines()[-lines:]] if lines else []

    def follow(self, *, wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
        """Yield what is written from now on, line by line, until the server has ended; raises as ``tail``."""
        at, rest = self._size(), b""
        while True:
            lives = self.folder.held()
            at = at if at <= self._size() else 0  # what was cut short is read again
            data = self._read(at)
            at += len(data)
            *lines, rest = (rest + data).split(b"\n")
            yield from (self._shown(line.decode("utf-8", errors="replace")) for line in lines)
            if not lives and not data:
                break
            if not data:
                wait(LOOK_S)
        if rest:
            yield self._shown(rest.decode("utf-8", errors="replace"))

    def _shown(self, line: str) -> str:
        known = self.folder.read()
        return line.replace(known.api_key, "***") if known is not None and known.api_key else line

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _read(self, start: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(TAIL_BYTES)
        except OSError as error:
            raise ServerError(f"Cannot read {self.path}: {error.strerror}.", where=str(self.path)) from None


def newest(home: Home) -> ServerLog | None:
    """Return the log of the newest launch, of those that run first; None where none was ever kept.

    Raises:
        ServerError: The folder of the launches cannot be read.
    """
    folders = [folder for folder in records.folders(home) if folder.log.is_file()]
    if not folders:
        return None
    chosen = max(folders, key=lambda folder: (folder.held(), records.age(folder)))
    known = chosen.read()
    return ServerLog(chosen.log, known.model if known else None, chosen)
