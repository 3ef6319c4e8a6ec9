"""Processes and sockets as Linux shows them.

For sockets the kernel is asked directly: its table in ``/proc`` costs several milliseconds, because it walks every
connection of the machine to print the few sockets that listen.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.server.processes.identity import BORN, LAUNCH, Identity, Listener, Marked, Usage

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


EXIT_KNOWN = 1 << 3
GET_INFO = 0xC040FF0B
INFO = struct.Struct("=Q52xi")


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # a service may see nothing of /proc but processes
        return "unknown"


@cache
def machine() -> str:
    """Return what tells this machine from others that share a home with it: never its name, which changes."""
    with suppress(OSError):
        if found := Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip():
            return found
    return _boot()


@cache
def _here() -> str:
    return _namespaces("self")


def _namespaces(pid: int | str) -> str:
    """Return where its pids and its ports mean something."""
    return ":".join(str(os.stat(f"/proc/{pid}/ns/{kind}").st_ino) for kind in ("pid", "net"))  # noqa: PTH116


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
    return Identity(_boot(), _here(), pid, int(stat[19]), f"{exe.st_dev}:{exe.st_ino}")


def remains(identity: Identity) -> bool:
    """Tell whether any thread of the process is left: the first one may be a zombie while others hold a GPU."""
    stat = _stat(identity.pid)
    if stat is None or int(stat[19]) != identity.start:
        return False
    return stat[0] not in "ZX" or int(stat[17]) > 1


def marked() -> list[Marked]:
    """Return the processes that carry a mark and whose pids and ports mean here what they mean to them."""
    found = []
    for pid in _mine():
        mark, born = _marks(pid)
        if mark and (identity := identify(pid)) and _local(pid):
            found.append(Marked(identity, mark, born))
    return found


def _marks(pid: int) -> tuple[str, str]:
    environ = _environment(pid)
    if LAUNCH.encode() not in environ:  # nearly all: a look at the whole is faster than a list of its parts
        return "", ""
    pairs = (entry.decode(errors="replace").partition("=") for entry in environ.split(b"\0"))
    named = {name: value for name, _, value in pairs if name in (LAUNCH, BORN)}
    return named.get(LAUNCH, ""), named.get(BORN, "")


def _local(pid: int) -> bool:
    try:
        return _namespaces(pid) == _here()
    except OSError:
        return False


def family(leader: int) -> list[Identity]:
    """Return the processes of the session that ``leader`` leads, and everybody's descendants."""
    stats = {pid: stat for pid in _mine() if (stat := _stat(pid)) is not None}
    found = {pid for pid, stat in stats.items() if leader in (pid, int(stat[3]))}
    while more := {pid for pid, stat in stats.items() if int(stat[1]) in found} - found:
        found |= more
    return [identity for identity in map(identify, found) if identity is not None]


def _mine() -> Iterator[int]:
    uid = os.geteuid()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid:
                    yield int(entry.name)
            except OSError:  # it ended while we looked
                continue


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def listening(identities: Iterable[Identity]) -> list[Listener]:
    """Return the sockets that these processes listen on."""
    ours = _inodes(identities)
    return [listener for inode, listener in _listeners() if inode in ours]


def sole_listener(found: Listener, identities: Iterable[Identity]) -> bool:
    """Return whether nobody else listens on that very address; a more general one yields to it."""
    spellings = (found.host, f"::ffff:{found.host}")
    there = {inode for inode, other in _listeners() if other.port == found.port and other.host in spellings}
    return bool(there) and there <= _inodes(identities)


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
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - identity.start / TICKS, 0.0)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal that very process and return whether it was there, and ours to signal."""
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        # The handle is taken first: whoever proves to be the recorded process now is the one it points at.
        if identify(identity.pid) != identity:
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True


class Deathwatch:
    """A handle on a process of others, which tells how it ended where the kernel does."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._handle: int | None = None
        with suppress(OSError):
            self._handle = os.pidfd_open(identity.pid)

    def status(self) -> int | None:
        """Return how the process ended as ``subprocess`` says it; None when it has not, or nobody can tell."""
        stat = _stat(self._identity.pid)
        if stat is not None and int(stat[19]) == self._identity.start:
            # A zombie: its last field is what its parent will read. One that may not be read shows zero.
            return _returned(int(stat[-1])) if stat[0] in "ZX" else None
        if self._handle is None:
            return None
        info = bytearray(INFO.pack(EXIT_KNOWN, 0))
        with suppress(OSError):  # before Linux 6.15
            fcntl.ioctl(self._handle, GET_INFO, info)
            told, code = INFO.unpack(info)
            return _returned(code) if told & EXIT_KNOWN else None
        return None

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _returned(code: int) -> int:
    return -(code & 0x7F) or code >> 8
