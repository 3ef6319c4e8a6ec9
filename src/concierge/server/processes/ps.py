"""Processes and sockets as psutil shows them, where there is no ``/proc``: what ``procfs`` says on Linux."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from concierge.server.processes.identity import LAUNCH, Identity, Listener, Usage, host

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
    return Identity(host(), "unknown", 0, pid, start, f"{exe.st_dev}:{exe.st_ino}")


def remains(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def leads_session(pid: int) -> bool:
    getsid = getattr(os, "getsid", None)
    try:
        return getsid is None or getsid(pid) == pid
    except OSError:
        return False


def members(launch: str, session: int | None) -> list[Identity]:
    pids = [process.pid for process in psutil.process_iter() if process.pid > 1 and _marked(process, launch)]
    if session is not None:
        pids += [child.pid for child in _descendants(session) if child.pid not in pids]
        pids += [] if session in pids else [session]
    return [identity for identity in map(identify, pids) if identity is not None]


def _marked(process: psutil.Process, launch: str) -> bool:
    try:
        return process.environ().get(LAUNCH) == launch
    except (psutil.Error, OSError):
        return False


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def listening(identities: Iterable[Identity]) -> list[Listener]:
    found = []
    for identity in identities:
        with suppress(psutil.Error):
            connections = psutil.Process(identity.pid).net_connections("tcp")
            found += [Listener(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]
    return found


def sole_listener(port: int, identities: Iterable[Identity]) -> bool:
    # The table of all sockets needs privileges here; a shared port still fails the proof by key.
    return any(listener.port == port for listener in listening(identities))


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
