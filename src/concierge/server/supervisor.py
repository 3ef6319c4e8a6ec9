"""Having the wanted server, once: adopt it, wait for it, or start it.

The lock covers read, decide, spawn and record. The long wait for the server to load happens outside of it, and
the record then says ``starting``, so that any other command finds the process and waits with us.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import mutex
from concierge.errors import ServerError, StartError
from concierge.server import failures, logs, stop
from concierge.server.processes import table
from concierge.server.record import Record
from concierge.server.wanted import Claim
from concierge.server.watch import Adopted, Child, Progress

if TYPE_CHECKING:
    from concierge.endpoint import Endpoint
    from concierge.server.engines.command import Command
    from concierge.server.processes.identity import Identity
    from concierge.server.wanted import Ground, Wanted

PAUSES_S = (0.01, 0.25)
"""The shortest and the longest pause between two looks at a server that is starting: a twentieth of the wait so far."""

SILENCE_S = 20.0
"""How long a server that was ready may neither answer nor work before it counts as stuck."""

DAEMON_S = 1.5
"""How long a command that ended well may take until the server that it left behind answers."""


class _Unproven(Exception):  # noqa: N818  # it never leaves this module
    """A server that had been ready is not any more."""


def obtain(wanted: Wanted, ground: Ground) -> Endpoint:
    """Return the endpoint of the wanted server when it is ready.

    Raises:
        ServerError: It died, stalled, or is not what it should be; nothing of it is left running.
    """
    try:
        return _obtain_once(wanted, ground)
    except _Unproven as lost:
        ground.say(f"The running server {lost}; starting a new one.")
    try:
        return _obtain_once(wanted, ground)
    except _Unproven as lost:
        raise StartError(f"The new server {lost} as well.", hint="`concierge status` names its log.") from None


def _obtain_once(wanted: Wanted, ground: Ground) -> Endpoint:
    claim = Claim()
    try:
        with mutex.held(ground.home, environ=ground.environ, say=ground.say):
            ground.checkpoint("locked")
            _decide(claim, wanted, ground)
        return _wait(claim, wanted, ground)
    except ServerError as error:
        if claim.record is not None:
            _finish_off(claim.record, ground)
            if claim.record.state == "ready":
                raise _Unproven(f"failed ({error.what})") from None
        raise
    except BaseException:
        if claim.record is not None:
            _leave(claim.record, ground)
        raise


def _decide(claim: Claim, wanted: Wanted, ground: Ground) -> None:
    record = ground.file.read()
    if record is not None:
        leader = table.leader(record.launch, record.identity) if table.from_here(record.starter) else None
        if leader is not None and record.wants == wanted.digest and record.state != "stopping":
            return _adopt(claim, record, leader, ground)
        if leader is not None:
            ground.say(f"Stopping the server of {record.model}: something else is wanted now.")
        stop.end(record, ground.file, say=ground.say, drain_s=stop.DRAIN_S)
    return _spawn(claim, wanted, ground)


def _adopt(claim: Claim, record: Record, leader: Identity, ground: Ground) -> None:
    claim.record, claim.watch = record, Adopted(record)
    if record.state == "ready":
        return
    ground.say(f"Waiting for the server of {record.model} that is already starting.")
    waiters = (*(waiter for waiter in record.waiters if table.alive(waiter)), table.myself())
    claim.record = replace(record, state="starting", identity=leader, waiters=waiters)
    ground.file.write(claim.record)


def _spawn(claim: Claim, wanted: Wanted, ground: Ground) -> None:
    import secrets

    me = table.myself()
    key = wanted.api_key or secrets.token_urlsafe(24)
    command = wanted.command(key)
    generation = ground.file.next_generation()
    log, handle = logs.create(ground.home, generation)
    claim.record = record = Record(
        generation=generation,
        state="intent",
        launch=secrets.token_hex(16),
        wants=wanted.digest,
        kind=wanted.kind,
        model=wanted.model,
        log=str(log),
        starter=me,
        waiters=(me,),
        base_url=wanted.base_url,
        # The key of a command is the user's own secret, and not ours to write down.
        api_key=key if wanted.kind == "engine" else None,
    )
    try:
        ground.file.write(record)
        ground.checkpoint("intent")
        ground.say(f"Starting {wanted.title}.")
        claim.watch = child = _start(command, record, handle)
    finally:
        os.close(handle)
    ground.checkpoint("spawned")
    claim.record = replace(record, state="starting", identity=table.identify(child.pid))
    ground.file.write(claim.record)
    ground.checkpoint("recorded")


def _start(command: Command, record: Record, log: int) -> Child:
    import subprocess

    from concierge.server.engines.command import marked

    # What a session of its own is elsewhere: Windows ends the processes of a console with the console.
    detached = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)

    try:
        process = subprocess.Popen(
            command.argv,
            env=marked(command, record.launch),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            creationflags=detached,
        )
    except OSError as error:
        raise failures.not_started(record, command.argv[0], error) from None
    return Child(process)


def _wait(claim: Claim, wanted: Wanted, ground: Ground) -> Endpoint:
    record, watch = claim.record, claim.watch
    assert record is not None
    assert watch is not None
    progress: Progress | None = None
    began = time.monotonic()
    while True:
        leader = table.leader(record.launch, record.identity)
        if leader is not None and leader != record.identity and record.state != "ready":
            record = _update(replace(record, identity=leader), ground)
        # The user's command may run as somebody whose processes we may not read: its server answers all the same.
        endpoint = wanted.look(record, leader) if leader or record.kind == "command" else None
        if endpoint is not None:
            return _ready(record, endpoint, ground) if leader else _left_behind(record, endpoint, ground)
        progress = progress or _progress(record, wanted)
        progress.asked()
        shortest, longest = PAUSES_S
        if watch.ended_within(min(max((time.monotonic() - began) / 20, shortest), longest)):
            return _ended(record, watch.status, wanted, ground)
        if why := progress.stalled():
            raise failures.stalled(record, wanted.title, why)


def _progress(record: Record, wanted: Wanted) -> Progress:
    return Progress(
        lambda: table.members(record.launch, record.identity),
        Path(record.log),
        limit_s=min(wanted.limit_s, SILENCE_S) if record.state == "ready" else wanted.limit_s,
    )


def _ready(record: Record, endpoint: Endpoint, ground: Ground) -> Endpoint:
    if record.state == "ready":
        return endpoint
    ground.checkpoint("proved")
    _update(replace(record, state="ready", waiters=(), base_url=endpoint.base_url, context=endpoint.context), ground)
    ground.checkpoint("ready")
    ground.say(f"The server of {record.model} is ready at {endpoint.base_url}.")
    return endpoint


def _update(record: Record, ground: Ground) -> Record:
    """Write the record of our launch, keeping those who joined meanwhile.

    Raises:
        StartError: Another command stopped the launch or replaced it.
    """
    with mutex.held(ground.home, environ=ground.environ, say=ground.say):
        current = ground.file.read()
        if current is None or current.launch != record.launch or current.state == "stopping":
            raise failures.taken_away(record)
        if record.state == "starting":
            record = replace(record, waiters=current.waiters)
        ground.file.write(record)
    return record


def _ended(record: Record, status: int | None, wanted: Wanted, ground: Ground) -> Endpoint:
    """Say how a start failed, or accept what a command that ended well has left running."""
    if record.kind == "command" and status == 0:
        deadline = time.monotonic() + DAEMON_S
        while time.monotonic() < deadline:
            endpoint = wanted.look(record, None)
            if endpoint is not None:
                return _left_behind(record, endpoint, ground)
            time.sleep(0.05)
    current = ground.file.read()
    if current is None or current.launch != record.launch or current.state == "stopping":
        raise failures.taken_away(record)
    raise failures.ended(record, wanted.title, status)


def _left_behind(record: Record, endpoint: Endpoint, ground: Ground) -> Endpoint:
    leader = table.leader(record.launch, None)
    if leader is not None:
        return _ready(replace(record, identity=leader), endpoint, ground)
    with mutex.held(ground.home, environ=ground.environ, say=ground.say):
        ground.file.clear(record)
    return replace(endpoint, owned=False)


def _finish_off(record: Record, ground: Ground) -> None:
    """Leave nothing of a failed launch."""
    with mutex.held(ground.home, environ=ground.environ, say=ground.say):
        current = ground.file.read()
        if current is not None and current.launch == record.launch:
            stop.end(current, ground.file, say=ground.say, drain_s=0)


def _leave(record: Record, ground: Ground) -> None:
    """Stop waiting; the last one out of a start that is not finished stops it."""
    if record.state == "ready":
        return
    with mutex.held(ground.home, environ=ground.environ, say=ground.say):
        current = ground.file.read()
        if current is None or current.launch != record.launch or current.state == "ready":
            return
        me = table.myself()
        others = tuple(waiter for waiter in current.waiters if waiter != me and table.alive(waiter))
        if others:
            ground.file.write(replace(current, waiters=others))
        else:
            stop.end(current, ground.file, say=ground.say, drain_s=0)
