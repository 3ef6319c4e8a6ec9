"""Having the wanted server, once: adopt it, wait for it, or start it.

The lock covers read, decide, spawn and record. The long wait for the server to load happens outside of it, and
the record then says ``starting``, so that any other command finds the process and waits with us.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import mutex
from concierge.errors import ServerError, StartError
from concierge.server import stop, watch
from concierge.server.processes import table
from concierge.server.record import Record, RecordFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.engines.command import Command
    from concierge.server.processes.identity import Identity
    from concierge.server.record import Kind

PAUSES_S = (0.01, 0.25)
"""The shortest and the longest pause between two looks at a server that is starting: a twentieth of the wait so far."""

SILENCE_S = 20.0
"""How long a server that was ready may neither answer nor work before it counts as stuck."""

DAEMON_S = 1.5
"""How long a command that ended well may take until the server that it left behind answers."""


@dataclass(frozen=True, slots=True)
class DesiredServer:
    """A server as it should be.

    Attributes:
        digest: Equal digests mean equal servers.
        title: What is started, for people.
        command: How it is started, given its key.
        look: Its endpoint once it is proven to be ready, None while it is not.
        limit_s: Seconds without any progress after which a start has failed.
        api_key: The key that it will demand; None makes a random one for each launch.
        base_url: Where it will answer, if that is known beforehand.
    """

    digest: str
    kind: Kind
    model: str
    title: str
    command: Callable[[str], Command]
    look: Callable[[Record, Identity | None], Endpoint | None]
    limit_s: float
    api_key: str | None = None
    base_url: str | None = None


class _Unproven(Exception):  # noqa: N818  # it never leaves this module
    """A server that had been ready is not any more."""


def obtain(desired: DesiredServer, home: Home, *, environ: Mapping[str, str], say: Callable[[str], None]) -> Endpoint:
    """Return the endpoint of the desired server when it is ready; nothing is left running of one that fails."""
    try:
        return _Launch(desired, home, environ, say).obtain()
    except _Unproven as lost:
        say(f"The running server {lost}; starting a new one.")
    try:
        return _Launch(desired, home, environ, say).obtain()
    except _Unproven as lost:
        raise StartError(f"The new server {lost} as well.", hint="`concierge status` names its log.") from None


class _Launch:
    """The launch that this command waits for: another command's, or its own.

    ``_record`` is set before anything of a launch is visible, so that an interrupt at any moment finds what to undo.
    """

    def __init__(
        self, desired: DesiredServer, home: Home, environ: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._desired = desired
        self._home = home
        self._environ = environ
        self._say = say
        self._file = RecordFile(home)
        self._record: Record | None = None

    def obtain(self) -> Endpoint:
        try:
            with self._locked():
                child = self._decide()
            return self._wait(child)
        except ServerError as error:
            if self._record is not None:
                self._finish_off(self._record)
                if self._record.state == "ready":
                    raise _Unproven(f"failed ({error.what})") from None
            raise
        except BaseException:
            if self._record is not None:
                self._leave(self._record)
            raise

    def _locked(self) -> AbstractContextManager[None]:
        return mutex.held(self._home, environ=self._environ, say=self._say)

    def _decide(self) -> watch.Child | None:
        """Start the server, unless one that another command started is adopted."""
        record = self._file.read()
        if record is not None:
            leader = table.leader(record.launch, record.identity) if table.from_here(record.starter) else None
            if leader is not None and record.wants == self._desired.digest and record.state != "stopping":
                self._adopt(record, leader)
                return None
            if leader is not None:
                self._say(f"Stopping the server of {record.model}: something else is wanted now.")
            stop.end(record, self._file, say=self._say, drain_s=stop.DRAIN_S)
        return self._spawn()

    def _adopt(self, record: Record, leader: Identity) -> None:
        self._record = record
        if record.state != "ready":
            self._say(f"Waiting for the server of {record.model} that is already starting.")
            waiters = (*(waiter for waiter in record.waiters if table.alive(waiter)), table.myself())
            self._record = replace(record, state="starting", identity=leader, waiters=waiters)
            self._file.write(self._record)

    def _spawn(self) -> watch.Child:
        import secrets

        desired, me = self._desired, table.myself()
        key = desired.api_key or secrets.token_urlsafe(24)
        command = desired.command(key)
        generation = self._file.next_generation()
        log, handle = watch.new_log(self._home, generation)
        self._record = record = Record(
            generation=generation,
            state="intent",
            launch=secrets.token_hex(16),
            wants=desired.digest,
            kind=desired.kind,
            model=desired.model,
            log=str(log),
            starter=me,
            waiters=(me,),
            base_url=desired.base_url,
            # The key of a command is the user's own secret, and not ours to write down.
            api_key=key if desired.kind == "engine" else None,
        )
        try:
            self._file.write(record)
            self._say(f"Starting {desired.title}.")
            child = watch.start(command, record, handle)
        finally:
            os.close(handle)
        self._record = replace(record, state="starting", identity=table.identify(child.pid))
        self._file.write(self._record)
        return child

    def _wait(self, child: watch.Child | None) -> Endpoint:
        record, look = self._record, self._desired.look
        assert record is not None
        progress: watch.Progress | None = None
        began = time.monotonic()
        while True:
            leader = table.leader(record.launch, record.identity)
            if leader is not None and leader != record.identity and record.state != "ready":
                record = self._update(replace(record, identity=leader))
            # The user's command may run as somebody whose processes we may not read: its server answers all the same.
            endpoint = look(record, leader) if leader or record.kind == "command" else None
            if endpoint is not None:
                return self._ready(record, endpoint) if leader else self._left_behind(record, endpoint)
            progress = progress or self._progress(record)
            progress.asked()
            shortest, longest = PAUSES_S
            pause_s = min(max((time.monotonic() - began) / 20, shortest), longest)
            if child is None:
                time.sleep(pause_s)
                ended = table.leader(record.launch, record.identity) is None
            else:
                ended = child.ended_within(pause_s)
            if ended:
                return self._ended(record, child.status if child else None)
            if why := progress.stalled():
                raise watch.stalled(record, self._desired.title, why)

    def _progress(self, record: Record) -> watch.Progress:
        limit_s = self._desired.limit_s
        return watch.Progress(
            lambda: table.members(record.launch, record.identity),
            Path(record.log),
            limit_s=min(limit_s, SILENCE_S) if record.state == "ready" else limit_s,
        )

    def _ready(self, record: Record, endpoint: Endpoint) -> Endpoint:
        if record.state != "ready":
            now = replace(record, state="ready", waiters=(), base_url=endpoint.base_url, context=endpoint.context)
            self._update(now)
            self._say(f"The server of {record.model} is ready at {endpoint.base_url}.")
        return endpoint

    def _update(self, record: Record) -> Record:
        """Write the record of our launch, keeping those who joined meanwhile."""
        with self._locked():
            current = self._kept(record)
            if record.state == "starting":
                record = replace(record, waiters=current.waiters)
            self._file.write(record)
        return record

    def _kept(self, record: Record) -> Record:
        """Return what the file says of our launch by now, unless another command stopped or replaced it."""
        current = self._written(record)
        if current is None or current.state == "stopping":
            raise watch.taken_away(record)
        return current

    def _written(self, record: Record) -> Record | None:
        current = self._file.read()
        return current if current is not None and current.launch == record.launch else None

    def _ended(self, record: Record, status: int | None) -> Endpoint:
        """Say how a start failed, or accept what a command that ended well has left running."""
        if record.kind == "command" and status == 0:
            deadline = time.monotonic() + DAEMON_S
            while time.monotonic() < deadline:
                endpoint = self._desired.look(record, None)
                if endpoint is not None:
                    return self._left_behind(record, endpoint)
                time.sleep(0.05)
        self._kept(record)
        raise watch.ended(record, self._desired.title, status)

    def _left_behind(self, record: Record, endpoint: Endpoint) -> Endpoint:
        leader = table.leader(record.launch, None)
        if leader is not None:
            return self._ready(replace(record, identity=leader), endpoint)
        with self._locked():
            self._file.clear(record)
        return replace(endpoint, owned=False)

    def _finish_off(self, record: Record) -> None:
        """Leave nothing of a failed launch."""
        with self._locked():
            if current := self._written(record):
                stop.end(current, self._file, say=self._say, drain_s=0)

    def _leave(self, record: Record) -> None:
        """Stop waiting; the last one out of a start that is not finished stops it."""
        if record.state == "ready":
            return
        with self._locked():
            current = self._written(record)
            if current is None or current.state == "ready":
                return
            me = table.myself()
            others = tuple(waiter for waiter in current.waiters if waiter != me and table.alive(waiter))
            if others:
                self._file.write(replace(current, waiters=others))
            else:
                stop.end(current, self._file, say=self._say, drain_s=0)
