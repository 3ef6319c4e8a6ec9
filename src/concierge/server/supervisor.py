"""Having the wanted server, once: adopt it, wait for it, or start it, and hold its lease from the first moment on.

The lock covers read, decide, spawn and record. The long wait for the server to load happens outside of it, and
the record then says ``starting``, so that any other command finds the process and waits with us. Whoever waits holds
a lease, like whoever uses: a start is given up by the last one who wanted it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import mutex
from concierge.errors import InterruptedByUser, ServerError, StartError
from concierge.server import interrupts, launches, leases, stop, watch
from concierge.server import record as records
from concierge.server.leases import Lease
from concierge.server.processes import table
from concierge.server.record import Folder, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.engines.command import Command
    from concierge.server.launches import Launch
    from concierge.server.processes.identity import Identity
    from concierge.server.record import Kind

PAUSES_S = (0.01, 0.25)
"""The shortest and the longest pause between two looks at a server that is starting: a twentieth of the wait so far."""

SEARCH_S = 0.1
"""Pauses from here on leave time to look for members that are not the process that was started."""

SILENCE_S = 20.0
"""How long a server that was ready may neither answer nor work before it counts as stuck."""

DAEMON_S = 1.5
"""How long a command that ended well may take until the server that it left behind answers."""

USERS_S = 0.2
"""Pause between two looks at whether those who use another server are done."""


@dataclass(frozen=True, slots=True)
class DesiredServer:
    """A server as it should be.

    Attributes:
        digest: Equal digests mean equal servers.
        title: What is started, for people.
        command: How it is started, given its key; raises when it cannot be, before anything is stopped for it.
        look: Its endpoint once it is proven to be ready, None while it is not; it is given the processes of its launch.
        limit_s: Seconds without any progress after which a start has failed, and for which users of another server
            are waited for.
        api_key: The key that it will demand; None makes a random one for each launch.
        base_url: Where it will answer, if that is known beforehand.
        room: Whether it has room beside a server that is in use.
    """

    digest: str
    kind: Kind
    model: str
    title: str
    command: Callable[[str], Command]
    look: Callable[[Record, Sequence[Identity]], Endpoint | None]
    limit_s: float
    api_key: str | None = None
    base_url: str | None = None
    room: Callable[[], bool] = lambda: False


class _Unproven(Exception):  # noqa: N818  # it never leaves this module
    """A server that had been ready is not any more."""


def obtain(
    desired: DesiredServer,
    home: Home,
    *,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    lease: Lease | None = None,
) -> Endpoint:
    """Return the endpoint of the desired server when it is ready; nothing is left running of one that fails.

    ``lease`` is then held; without one, the server is nobody's as soon as this returns.
    """
    with interrupts.once(), Lease(home) as passing:
        held = passing if lease is None else lease
        held.waiting = True
        try:
            return _obtain(desired, home, environ, say, held)
        finally:
            held.waiting = False


def _obtain(
    desired: DesiredServer, home: Home, environ: Mapping[str, str], say: Callable[[str], None], lease: Lease
) -> Endpoint:
    try:
        return _Attempt(desired, home, environ, say, lease).obtain()
    except _Unproven as lost:
        say(f"The running server {lost}; starting a new one.")
    try:
        return _Attempt(desired, home, environ, say, lease).obtain()
    except _Unproven as lost:
        raise StartError(f"The new server {lost} as well.", hint="`concierge status` names its log.") from None


def join(
    launch: Launch, home: Home, *, environ: Mapping[str, str], say: Callable[[str], None], lease: Lease | None
) -> bool:
    """Hold the lease of a launch that is ready; False when it is not, or not any more."""
    with mutex.held(home, environ=environ, say=say):
        record = Folder(home, launch.record.launch).read()
        if record is None or record.state != "ready":
            return False
        if lease is not None:
            leases.sweep(home, record)
            lease.take(record, launch.leader)
        return True


class _Attempt:
    """One attempt to have the server: another command's launch, or our own.

    ``_record`` is set before anything of a launch is visible, so that an interrupt at any moment finds what to undo.
    """

    def __init__(
        self, desired: DesiredServer, home: Home, environ: Mapping[str, str], say: Callable[[str], None], lease: Lease
    ) -> None:
        self._desired = desired
        self._home = home
        self._environ = environ
        self._say = say
        self._lease = lease
        self._record: Record | None = None

    def obtain(self) -> Endpoint:
        try:
            return self._wait(self._enter())
        except ServerError as error:
            record = self._record
            if record is None:
                raise
            if not self._let_go(record):
                raise self._others_use(record, error) from None
            if record.state == "ready":
                raise _Unproven(f"failed ({error.what})") from None
            raise
        except BaseException:
            if self._record is not None and self._record.state != "ready":
                self._let_go(self._record)
            self._lease.release()
            raise

    def _locked(self) -> AbstractContextManager[None]:
        return mutex.held(self._home, environ=self._environ, say=self._say)

    def _let_go(self, record: Record) -> bool:
        """End our part in a launch, and the launch where we were the last one; return whether it is gone."""
        self._lease.release()
        if self._written(record) is None and not table.members(record.launch, record.identity):
            return True
        return stop.give_up(record.launch, self._home, say=self._say, environ=self._environ)

    def _others_use(self, record: Record, error: ServerError) -> ServerError:
        users = "; ".join(leases.holders(self._home, record))
        hint = f"It was left alone for {users}. `concierge down` stops it all the same." if users else error.hint
        return type(error)(error.what, where=error.where, hint=hint)

    def _enter(self) -> watch.Child | None:
        """Join the launch that is wanted, or make one as soon as those who use another server let us."""
        desired = self._desired
        key, command = "", None
        deadline: float | None = None
        room: bool | None = None
        told: set[str] = set()
        while True:
            self._pause(0)
            with self._locked():
                launch = launches.wanted(self._home, desired.digest)
                if launch is not None:
                    self._join(launch)
                    return None
                if command is not None:
                    users = self._in_the_way(room=bool(room))
                    if not users:
                        return self._spawn(command, key)
            if command is None:
                # Known before anything is stopped for it.
                key = desired.api_key or _random_key()
                command = desired.command(key)
                watch.check(command, desired.kind)
                continue
            if room is None:
                room = desired.room()
                continue
            deadline = deadline or time.monotonic() + desired.limit_s
            if time.monotonic() >= deadline:
                raise ServerError(
                    f"Another server is in use: {'; '.join(users)}.",
                    hint="Wait for that, or stop it with `concierge down`. There is no room for both.",
                )
            for user in set(users) - told:
                self._say(f"Waiting up to {desired.limit_s:g} s: {user}.")
            told.update(users)
            self._pause(USERS_S)

    def _in_the_way(self, *, room: bool) -> list[str]:
        """Stop the servers that nobody uses; return who uses others, if there is no room beside those."""
        others = launches.living(self._home)
        used = [(launch, users) for launch in others if (users := self._users(launch))]
        if any(launch.members for launch, _ in used) and not room:
            return [f"{user} uses the server of {launch.record.model}" for launch, users in used for user in users]
        for launch in others:
            if launch.members and launch not in [each for each, _ in used]:
                self._say(f"Stopping the server of {launch.record.model}: something else is wanted now.")
                stop.end(launch, self._home, say=self._say, drain_s=stop.DRAIN_S)
        for launch, _ in used:
            self._say(f"Starting beside the server of {launch.record.model}, which is in use.")
        launches.settle(self._home)
        return []

    def _users(self, launch: Launch) -> list[str]:
        """Say for whom a server must stay."""
        if not leases.may_go(self._home, launch.record):
            return leases.holders(self._home, launch.record)
        return ["an answer in progress"] if launch.members and stop.answering(launch.record) else []

    def _join(self, launch: Launch) -> None:
        record = self._record = launch.record
        leases.sweep(self._home, record)
        self._lease.take(record, launch.leader)
        self._lease.started = False
        if record.state != "ready":
            self._say(f"Waiting for the server of {record.model} that is already starting.")
            self._record = replace(record, state="starting", identity=launch.leader)
            Folder(self._home, record.launch).write(self._record)

    def _spawn(self, command: Command, key: str) -> watch.Child:
        import secrets

        desired = self._desired
        mark = secrets.token_hex(16)
        folder = Folder(self._home, mark)
        record = Record(
            launch=mark,
            began=time.time(),
            machine=table.machine(),
            home=records.place(self._home),
            state="starting",
            wants=desired.digest,
            kind=desired.kind,
            model=desired.model,
            log=str(folder.log),
            base_url=desired.base_url,
            # The key of a command is the user's own secret, and not ours to write down.
            api_key=key if desired.kind == "engine" else None,
        )
        self._record = record
        folder.write(replace(record, state="intent"))
        records.forget_old(self._home)
        self._lease.take(record)
        self._lease.started = True
        with watch.prepared(folder) as (log, alive):
            self._say(f"Starting {desired.title}.")
            child = watch.start(command, record, folder, log, alive)
        self._record = replace(record, identity=table.identify(child.pid))
        self._lease.watch(self._record)
        folder.write(self._record)
        return child

    def _wait(self, child: watch.Child | None) -> Endpoint:
        record = self._record
        assert record is not None
        progress: watch.Progress | None = None
        began = time.monotonic()
        while True:
            shortest, longest = PAUSES_S
            pause_s = min(max((time.monotonic() - began) / 20, shortest), longest)
            leader = table.leader(record.launch, record.identity)
            if leader is not None and leader != record.identity and record.state != "ready":
                record = self._update(replace(record, identity=leader))
            members = [leader] if leader else []
            if leader and pause_s >= SEARCH_S:
                members = table.members(record.launch, record.identity)
            # The user's command may run as somebody whose processes we may not read: its server answers all the same.
            endpoint = self._look(record, members, child) if members or record.kind == "command" else None
            if endpoint is not None:
                return self._ready(record, members, endpoint) if members else self._left_behind(record, endpoint)
            progress = progress or self._progress(record)
            progress.asked()
            if child is None:
                self._pause(pause_s)
                ended = table.leader(record.launch, record.identity) is None
            else:
                ended = child.ended_within(pause_s)
            if self._lease.cancelled.is_set():
                raise InterruptedByUser("Nobody waits for the server any more.")
            if ended:
                left = self._ended(record, child.status if child else self._lease.how_it_ended())
                if left is not None:
                    return left
                child = None
            if why := progress.stalled():
                raise watch.stalled(record, self._desired.title, why)

    def _pause(self, seconds: float) -> None:
        if self._lease.cancelled.wait(seconds):
            raise InterruptedByUser("Nobody waits for the server any more.")

    def _look(self, record: Record, members: Sequence[Identity], child: watch.Child | None) -> Endpoint | None:
        """Look at the server; one that died while it was asked is asked how it died."""
        try:
            return self._desired.look(record, members)
        except ServerError:
            if members and table.gone(members, within_s=leases.DEATH_S):
                if child is not None:
                    child.ended_within(leases.DEATH_S)
                status = child.status if child is not None else self._lease.how_it_ended()
                self._kept(record)
                raise watch.ended(record, self._desired.title, status) from None
            raise

    def _progress(self, record: Record) -> watch.Progress:
        limit_s = self._desired.limit_s
        return watch.Progress(
            lambda: table.members(record.launch, record.identity),
            Path(record.log),
            limit_s=min(limit_s, SILENCE_S) if record.state == "ready" else limit_s,
        )

    def _ready(self, record: Record, members: Sequence[Identity], endpoint: Endpoint) -> Endpoint:
        if record.state != "ready":
            port = endpoint.address.port
            owners = (one for one in members if any(socket.port == port for socket in table.listening([one])))
            now = replace(record, state="ready", base_url=endpoint.base_url, context=endpoint.context)
            self._update(replace(now, identity=next(owners, record.identity)))
            self._say(f"The server of {record.model} is ready at {endpoint.base_url}.")
        return endpoint

    def _update(self, record: Record) -> Record:
        """Write the record of our launch, unless another command stopped it meanwhile."""
        with self._locked():
            self._kept(record)
            Folder(self._home, record.launch).write(record)
        self._record = record
        self._lease.watch(record)
        return record

    def _kept(self, record: Record) -> None:
        """Refuse to go on with a launch that another command stopped, or found dead and cleared."""
        folder, current = Folder(self._home, record.launch), self._written(record)
        if folder.stopped():
            raise watch.taken_away(record)
        # A folder that is lost says nothing.
        if current is None and folder.path.exists():
            raise watch.ended(record, self._desired.title, self._lease.how_it_ended())

    def _written(self, record: Record) -> Record | None:
        return Folder(self._home, record.launch).read()

    def _ended(self, record: Record, status: int | None) -> Endpoint | None:
        """Say how a start failed, or accept what a command that ended well has left; None is a launch that goes on."""
        if record.kind == "command" and not status:
            deadline = time.monotonic() + DAEMON_S
            while time.monotonic() < deadline:
                # A look at all processes may miss one that forks just then: it is found by the next.
                if table.members(record.launch):
                    return None
                endpoint = self._desired.look(record, [])
                if endpoint is not None:
                    return self._left_behind(record, endpoint)
                time.sleep(0.05)
        self._kept(record)
        raise watch.ended(record, self._desired.title, status)

    def _left_behind(self, record: Record, endpoint: Endpoint) -> Endpoint:
        members = table.members(record.launch)
        if members:
            return self._ready(record, members, endpoint)
        with self._locked():
            Folder(self._home, record.launch).clear()
        self._lease.release()
        return replace(endpoint, owned=False)


def _random_key() -> str:
    import secrets

    return secrets.token_urlsafe(24)
