"""Stopping what we started, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TYPE_CHECKING

from concierge import mutex
from concierge.errors import ServerError
from concierge.net import near
from concierge.server.processes import table
from concierge.server.record import RecordFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.processes.identity import Identity
    from concierge.server.record import Record

DRAIN_S = 10.0
"""How long an answer in progress may take before its server is stopped."""

GRACE_S = 10.0
"""How long a server may take to end by itself; Ollama frees its models first."""

KILL_S = 15.0
"""How long the kernel may take to end a killed process that holds a GPU or a slow disk."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A server that ran and is gone; ``forced`` when it did not end by itself and was killed."""

    model: str
    pid: int | None
    base_url: str | None
    forced: bool
    seconds: float


def down(
    home: Home,
    *,
    say: Callable[[str], None],
    drain_s: float = DRAIN_S,
    grace_s: float = GRACE_S,
    environ: Mapping[str, str] = os.environ,
) -> Stopped | None:
    """Stop the server that our record names and wait until it is gone; None when none of ours runs."""
    file = RecordFile(home)
    if not file.path.exists():
        return None
    with mutex.held(home, environ=environ, say=say):
        record = file.read()
        return None if record is None else end(record, file, say=say, drain_s=drain_s, grace_s=grace_s)


def end(
    record: Record, file: RecordFile, *, say: Callable[[str], None], drain_s: float, grace_s: float = GRACE_S
) -> Stopped | None:
    """Stop every process of a launch and clear its record; the caller holds the lock."""
    if not table.from_here(record.starter):
        say(f"The recorded server of {record.model} belongs to another container: it is left alone.")
        return None
    began = time.monotonic()
    leader = table.leader(record.launch, record.identity)
    if not table.members(record.launch, leader):
        file.clear(record)
        return None
    # A full disk must not keep a server alive.
    with suppress(ServerError):
        file.write(replaced(record, state="stopping"))
    _drain(record, leader, drain_s, say)
    forced = _terminate(record.launch, leader, grace_s)
    file.clear(record)
    pid = leader.pid if leader else None
    return Stopped(record.model, pid, record.base_url, forced, time.monotonic() - began)


def _drain(record: Record, leader: Identity | None, drain_s: float, say: Callable[[str], None]) -> None:
    """Let an answer in progress end, where the server tells."""
    server = record.endpoint
    if leader is None or server is None or record.kind != "engine":
        return
    deadline = time.monotonic() + drain_s
    told = False
    while time.monotonic() < deadline and _busy(server.root):
        if not told:
            say(f"Waiting up to {drain_s:g} s for the answer in progress.")
            told = True
        time.sleep(0.1)


def _busy(server: Endpoint) -> bool:
    answer = near.ask(server, "/slots", timeout=1.0)
    # A server that is too busy to say so is busy; one that does not listen is not.
    return answer == "silent" if isinstance(answer, str) else b'"is_processing":true' in answer.body.replace(b" ", b"")


def _terminate(launch: str, leader: Identity | None, grace_s: float) -> bool:
    """End the whole launch and return whether it had to be killed."""
    found = table.members(launch, leader)
    for member in found:
        table.send(member, signal.SIGTERM)
        # A suspended process acts on it only once it runs again.
        table.send(member, getattr(signal, "SIGCONT", signal.SIGTERM))
    table.gone(found, within_s=grace_s)
    forced = False
    deadline = time.monotonic() + KILL_S
    while True:
        # Those that we knew, and those that were forked or that left the session since.
        left = {*found, *table.members(launch, leader)}
        if table.gone(left, within_s=0):
            return forced
        if time.monotonic() >= deadline:
            pids = ", ".join(str(member.pid) for member in left)
            raise ServerError(
                f"The server does not end although it was killed (process {pids}).",
                where=pids,
                hint="It hangs in the kernel, usually in a driver or on a disk: `concierge down` again, later.",
            )
        forced = True
        for member in left:
            table.send(member, getattr(signal, "SIGKILL", signal.SIGTERM))
        table.gone(left, within_s=1.0)
