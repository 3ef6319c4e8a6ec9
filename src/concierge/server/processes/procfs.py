"""Processes and sockets as Linux shows them.

For sockets the kernel is asked directly: its table in ``/proc`` costs several milliseconds, because it walks every
connection of the machine to print the few sockets that listen.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.server.processes.identity import LAUNCH, Identity, Listener, Usage, host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301
ERROR, DONE = 2, 3
STATE_LISTEN = 10
HEADER = struct.Struct("=IHHII")
QUESTION = struct.Struct("=BBBBI48x")
ANSWER = struct.Struct("=BBBB2s2s16s16sI8sIIIII")

Socket = tuple[int, Listener]
"""Its inode, and what it listens on."""


@cache
def _place() -> tuple[str, str, int]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return host(), boot, os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116  # Path.stat costs the same


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` from the third on: the name before them may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def identify(pid: int) -> Identity | None:
    """Return who ``pid`` is now, or None when it is nobody or a zombie."""
    stat = _stat(pid)
    if stat is None or stat[0] in "ZX":
        return None
    try:
        exe = Path(f"/proc/{pid}/exe").stat()
    except OSError:
        return None
    return Identity(*_place(), pid, int(stat[19]), f"{exe.st_dev}:{exe.st_ino}")


def remains(identity: Identity) -> bool:
    """Tell whether any thread of the process is left: the first one may be a zombie while others hold a GPU."""
    stat = _stat(identity.pid)
    if stat is None or int(stat[19]) != identity.start:
        return False
    return stat[0] not in "ZX" or int(stat[17]) > 1


def leads_session(pid: int) -> bool:
    return _session(pid) == pid


def _session(pid: int) -> int | None:
    stat = _stat(pid)
    return None if stat is None else int(stat[3])


def members(launch: str, session: int | None) -> list[Identity]:
    mark = f"{LAUNCH}={launch}".encode()
    pids = (pid for pid in _mine() if (session and _session(pid) == session) or mark in _environment(pid))
    return [identity for identity in map(identify, pids) if identity is not None]


def _mine() -> Iterator[int]:
    uid = os.geteuid()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) > 1:
            try:
                if entry.stat().st_uid == uid:
                    yield int(entry.name)
            except OSError:  # it ended while we looked
                continue


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def listening(identities: Iterable[Identity]) -> list[Listener]:
    """Return the sockets that these processes listen on."""
    ours = _inodes(identities)
    return [listener for inode, listener in _listeners() if inode in ours]


def sole_listener(port: int, identities: Iterable[Identity]) -> bool:
    """Return whether every listener on ``port`` belongs to these processes, and there is one."""
    found = {inode for inode, listener in _listeners() if listener.port == port}
    return bool(found) and found <= _inodes(identities)


def _listeners() -> list[Socket]:
    """Return every LISTEN socket of this network namespace."""
    try:
        return [found for family in (socket.AF_INET, socket.AF_INET6) for found in _ask(family)]
    except OSError:  # a container may forbid the question
        return [found for table in ("tcp", "tcp6") for found in _table(Path("/proc/self/net") / table)]


def _inodes(identities: Iterable[Identity]) -> set[int]:
    """Return the sockets that these processes hold."""
    found = set()
    for identity in identities:
        with suppress(OSError):
            for entry in os.scandir(f"/proc/{identity.pid}/fd"):
                with suppress(OSError):
                    target = os.readlink(entry.path)  # noqa: PTH115  # "socket:[1]" is not a path
                    if target.startswith("socket:["):
                        found.add(int(target[8:-1]))
    return found


def _ask(family: socket.AddressFamily) -> Iterator[Socket]:
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


def _listening(family: socket.AddressFamily, message: bytes) -> Socket:
    parts = ANSWER.unpack_from(message)
    port, source, inode = parts[4], parts[6], parts[-1]
    host = socket.inet_ntop(family, source[:4] if family == socket.AF_INET else source)
    return inode, Listener(host, int.from_bytes(port, "big"))


def _table(table: Path) -> Iterator[Socket]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for words in map(str.split, lines):
        if int(words[3], 16) == STATE_LISTEN:
            host, port = words[1].rsplit(":", 1)
            yield int(words[9]), Listener(_host(host), int(port, 16))


def _host(text: str) -> str:
    # The table prints each 32-bit word of the address in the byte order of the machine.
    raw = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def usage(identities: Iterable[Identity]) -> Usage:
    """Return what these processes have consumed so far."""
    ticks = faults = read = 0
    for identity in identities:
        stat = _stat(identity.pid)
        if stat is not None:
            ticks += int(stat[11]) + int(stat[12])
            faults += int(stat[9])
            read += _bytes_read(identity.pid)
    return Usage(ticks / TICKS, faults, read)


def _bytes_read(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), 0)


def age_s(identity: Identity) -> float:
    """Return for how many seconds the process has run."""
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return max(uptime - identity.start / TICKS, 0.0)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal that very process and return whether it was there."""
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        # The handle is taken first: whoever proves to be the recorded process now is the one it points at.
        if identify(identity.pid) != identity:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True
