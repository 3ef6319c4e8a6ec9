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
from concierge.server import interrupts, launches, leases
from concierge.server.processes import table
from concierge.server.record import Folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.launches import Launch
    from concierge.server.record import Record

DRAIN_S = 10.0
"""How long an answer in progress may take before its server is stopped."""

GRACE_S = 10.0
"""How long a server may take to end by itself; Ollama frees its models first."""

KILL_S = 15.0
"""How long the kernel may take to end a killed process that holds a GPU or a slow disk."""


BIRTH_S = 2.0
"""How long a process may take from its birth until it carries its mark."""

LONGEST_S = GRACE_S + KILL_S
"""How long the slowest stop takes."""


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
    """Stop every server of the home and wait until it is gone, whoever uses it; the newest one is returned.

    None means that none of ours runs here.
    """
    if not launches.living(home) and not home.run.exists():
        return None
    with interrupts.once(), mutex.held(home, environ=environ, say=say):
        return end_all(home, say=say, drain_s=drain_s, grace_s=grace_s)


def end_all(
    home: Home, *, say: Callable[[str], None], drain_s: float = DRAIN_S, grace_s: float = GRACE_S
) -> Stopped | None:
    """Do as ``down`` does; the caller holds the lock."""
    stopped: list[Stopped] = []
    for launch in launches.living(home):
        if not launch.members:
            say(f"The server of {launch.record.model} runs in another container or machine: it is left alone.")
            continue
        for holder in leases.holders(home, launch.record):
            say(f"Cut off: {holder} uses the server of {launch.record.model}.")
        stopped.append(end(launch, home, say=say, drain_s=drain_s, grace_s=grace_s))
        if len(stopped) > 1:
            say(f"Stopped another server, of {launch.record.model} (process {stopped[-1].pid}).")
    launches.settle(home)
    return next(iter(stopped), None)


def give_up(launch_id: str, home: Home, *, say: Callable[[str], None], environ: Mapping[str, str]) -> bool:
    """Stop the server of a launch unless somebody uses it, and return whether it is gone."""
    with interrupts.once(spent=True), mutex.held(home, environ=environ, say=say):
        folder = Folder(home, launch_id)
        found = launches.one(home, launch_id)
        if found is None and folder.held():
            # It was interrupted between its birth and its program, which brings the mark.
            table.wait_until(lambda: bool(launches.one(home, launch_id)) or not folder.held(), within_s=BIRTH_S)
            found = launches.one(home, launch_id)
        if found is None:
            launches.settle(home)
            return True
        if not leases.may_go(home, found.record):
            return False
        end(found, home, say=say, drain_s=0)
        return True


def end(launch: Launch, home: Home, *, say: Callable[[str], None], drain_s: float, grace_s: float = GRACE_S) -> Stopped:
    """Stop every process of a launch and clear its record; the caller holds the lock and knows that it may go."""
    began = time.monotonic()
    record, folder = launch.record, Folder(home, launch.record.launch)
    # A full disk must not keep a server alive.
    with suppress(ServerError):
        folder.write(replaced(record, state="stopping"))
    folder.note_stop()
    _drain(record, drain_s, say)
    forced = _terminate(record, grace_s)
    folder.leases(sweep=True)
    folder.clear()
    return Stopped(record.model, launch.leader.pid, record.base_url, forced, time.monotonic() - began)


def _drain(record: Record, drain_s: float, say: Callable[[str], None]) -> None:
    """Let an answer in progress end, where the server tells."""
    server = record.endpoint
    if server is None or record.kind != "engine":
        return
    deadline = time.monotonic() + drain_s
    told = False
    while time.monotonic() < deadline and _busy(server.root):
        if not told:
            say(f"Waiting up to {drain_s:g} s for the answer in progress.")
            told = True
        time.sleep(0.1)


def answering(record: Record) -> bool:
    """Return whether the server of a launch says that it is answering somebody, who need not hold a lease."""
    server = record.endpoint
    if server is None or record.kind != "engine":
        return False
    answer = near.ask(server.root, "/slots", timeout=1.0)
    return not isinstance(answer, str) and _processing(answer)


def _busy(server: Endpoint) -> bool:
    answer = near.ask(server, "/slots", timeout=1.0)
    # A server that is too busy to say so is busy; one that does not listen is not.
    return answer in ("busy", "silent") if isinstance(answer, str) else _processing(answer)


def _processing(answer: near.Answer) -> bool:
    return b'"is_processing":true' in answer.body.replace(b" ", b"")


def _terminate(record: Record, grace_s: float) -> bool:
    """End the whole launch and return whether it had to be killed."""
    found = table.members(record.launch, record.identity)
    for member in found:
        table.send(member, signal.SIGTERM)
        # A suspended process acts on it only once it runs again.
        table.send(member, getattr(signal, "SIGCONT", signal.SIGTERM))
    table.gone(found, within_s=grace_s)
    forced = False
    deadline = time.monotonic() + KILL_S
    while True:
        # Those that we knew, and those that were forked or that left the session since.
        left = {*found, *table.members(record.launch, record.identity)}
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
