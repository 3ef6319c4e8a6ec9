"""Who listens on which TCP port, on Linux.

The kernel is asked directly: its table in ``/proc`` costs several milliseconds, because it walks every
connection of the machine to print the few sockets that listen.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301
ERROR, DONE = 2, 3
STATE_LISTEN = 10
HEADER = struct.Struct("=IHHII")
QUESTION = struct.Struct("=BBBBI48x")
ANSWER = struct.Struct("=BBBB2s2s16s16sI8sIIIII")


@dataclass(frozen=True, slots=True)
class Listening:
    """A LISTEN socket of this network namespace."""

    host: str
    port: int
    inode: int


def listening() -> list[Listening]:
    """Return every LISTEN socket of this network namespace."""
    try:
        return [found for family in (socket.AF_INET, socket.AF_INET6) for found in _ask(family)]
    except OSError:  # a container may forbid the question
        return [found for table in ("tcp", "tcp6") for found in _table(Path("/proc/self/net") / table)]


def inodes(pids: Sequence[int]) -> set[int]:
    """Return the sockets that these processes hold."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    target = os.readlink(entry.path)  # noqa: PTH115  # "socket:[1]" is not a path
                    if target.startswith("socket:["):
                        found.add(int(target[8:-1]))
    return found


def _ask(family: socket.AddressFamily) -> Iterator[Listening]:
    body = QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << STATE_LISTEN)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as asker:
        asker.settimeout(1.0)
        asker.send(HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 0, 0) + body)
        while True:
            for kind, message in _messages(asker.recv(1 << 16)):
                if kind == DONE:
                    return
                if kind == ERROR:
                    raise OSError(-struct.unpack_from("=i", message)[0], "socket diagnosis refused")
                yield _listening(family, message)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(data)
        yield kind, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _listening(family: socket.AddressFamily, message: bytes) -> Listening:
    parts = ANSWER.unpack_from(message)
    port, source, inode = parts[4], parts[6], parts[-1]
    host = socket.inet_ntop(family, source[:4] if family == socket.AF_INET else source)
    return Listening(host, int.from_bytes(port, "big"), inode)


def _table(table: Path) -> Iterator[Listening]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for words in map(str.split, lines):
        if int(words[3], 16) == STATE_LISTEN:
            host, port = words[1].rsplit(":", 1)
            yield Listening(_host(host), int(port, 16), int(words[9]))


def _host(text: str) -> str:
    # The table prints each 32-bit word of the address in the byte order of the machine.
    raw = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
