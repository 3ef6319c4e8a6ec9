"""Processes and sockets as psutil shows them, where there is no ``/proc``: what ``procfs`` says on Linux."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from concierge.server.processes.identity import BORN, LAUNCH, Identity, Listener, Marked, Usage

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def identify(pid: int) -> Identity | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() in DEAD:
                return None
            start = round(process.create_time() * 1000)
            exe = Path(process.exe()).stat()
    except (psutil.Error, OSError):
        return None
    # The time of boot moves with the clock here; a start time to the millisecond is what tells processes apart.
    return Identity("unknown", "", pid, start, f"{exe.st_dev}:{exe.st_ino}")


def machine() -> str:
    return f"{uuid.getnode():012x}"


def remains(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def marked() -> list[Marked]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environ = process.environ()
            if (launch := environ.get(LAUNCH)) and (identity := identify(process.pid)):
                found.append(Marked(identity, launch, environ.get(BORN, "")))
    return found


def family(leader: int) -> list[Identity]:
    with suppress(psutil.Error):
        pids = [leader, *(child.pid for child in psutil.Process(leader).children(recursive=True))]
        return [identity for identity in map(identify, pids) if identity is not None]
    return []


def listening(identities: Iterable[Identity]) -> list[Listener]:
    found = []
    for identity in identities:
        with suppress(psutil.Error):
            connections = psutil.Process(identity.pid).net_connections("tcp")
            found += [Listener(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]
    return found


def sole_listener(found: Listener, identities: Iterable[Identity]) -> bool:
    # The table of all sockets needs privileges here; a shared port still fails the proof by key.
    return found in listening(identities)


def usage(identities: Iterable[Identity]) -> Usage:
    cpu = 0.0
    for identity in identities:
        with suppress(psutil.Error):
            times = psutil.Process(identity.pid).cpu_times()
            cpu += times.user + times.system
    return Usage(cpu, 0, 0)


def age_s(identity: Identity) -> float:
    return max(time.time() - identity.start / 1000, 0.0)


def send(identity: Identity, number: signal.Signals) -> bool:
    if identify(identity.pid) != identity:
        return False
    try:
        # psutil compares the start time once more before it signals.
        psutil.Process(identity.pid).send_signal(number)
    except psutil.Error:
        return False
    return True


class Deathwatch:
    """Nobody but its parent learns here how a process ended."""

    def __init__(self, identity: Identity) -> None:
        pass

    def status(self) -> int | None:
        return None

    def close(self) -> None:
        pass
