"""Whose server listens on this machine: what one user may use unasked must not be another user's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from concierge.endpoint import Address

_LISTEN = "0A"
_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")


Whose = Literal["nobody", "mine", "others", "unknown"]


def whose(address: Address) -> Whose:
    """Return who listens there. Whoever asks may use only what is their own without naming it."""
    if sys.platform != "linux":
        return "mine" if _of_my_processes(address.port) else "unknown"
    rows = [_rows(Path(table)) for table in _TABLES]
    if all(found is None for found in rows):
        return "unknown"
    owners = {uid for found in rows for port, uid in found or () if port == address.port}
    return "nobody" if not owners else "mine" if owners == {os.geteuid()} else "others"


def _rows(table: Path) -> list[tuple[int, int]] | None:
    """Return the port and the owner of each socket that listens, as the kernel prints them; None where it does not."""
    try:
        lines = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return None
    return [(int(words[1].rpartition(":")[2], 16), int(words[7])) for words in lines if words[3] == _LISTEN]


def _of_my_processes(port: int) -> bool:
    """Other systems show the sockets of one's own processes only: whoever is found there is oneself."""
    import psutil

    me = psutil.Process().username()
    for process in psutil.process_iter(["username"]):
        if process.info["username"] != me:
            continue
        try:
            sockets = process.net_connections(kind="tcp")
        except (psutil.Error, OSError):
            continue
        if any(socket.status == psutil.CONN_LISTEN and socket.laddr.port == port for socket in sockets):
            return True
    return False
