"""Processes and sockets as Linux shows them in ``/proc``."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.server.processes import sockets
from concierge.server.processes.identity import LAUNCH, Identity, Listener, Usage, host

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


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
    stat = _stat(pid)
    return stat is not None and int(stat[3]) == pid


def members(launch: str, session: int | None) -> list[Identity]:
    mark = f"{LAUNCH}={launch}".encode()
    pids = (pid for pid in _mine() if _in_session(pid, session) or mark in _environment(pid))
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


def _in_session(pid: int, session: int | None) -> bool:
    if session is None:
        return False
    stat = _stat(pid)
    return stat is not None and int(stat[3]) == session


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def listening(pids: Sequence[int]) -> list[Listener]:
    ours = sockets.inodes(pids)
    return [Listener(found.host, found.port) for found in sockets.listening() if found.inode in ours]


def sole_listener(port: int, pids: Sequence[int]) -> bool:
    found = {listening.inode for listening in sockets.listening() if listening.port == port}
    return bool(found) and found <= sockets.inodes(pids)


def usage(pids: Sequence[int]) -> Usage:
    ticks = faults = read = 0
    for pid in pids:
        stat = _stat(pid)
        if stat is not None:
            ticks += int(stat[11]) + int(stat[12])
            faults += int(stat[9])
            read += _bytes_read(pid)
    return Usage(ticks / TICKS, faults, read)


def _bytes_read(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), 0)


def age_s(identity: Identity) -> float:
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return max(uptime - identity.start / TICKS, 0.0)


def send(identity: Identity, number: signal.Signals) -> bool:
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
