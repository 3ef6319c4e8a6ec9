"""Make sure that a server serves the model: use the one that is there, or have ours."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.net import near
from concierge.server import launches, proof
from concierge.server.look import look, only_model, refusal
from concierge.server.processes.owner import whose
from concierge.server.supervisor import DesiredServer, join, obtain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from concierge.config.keys import Llm
    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Address, Endpoint
    from concierge.paths import Home
    from concierge.server.engines.command import Command
    from concierge.server.launches import Launch
    from concierge.server.leases import Lease
    from concierge.server.look import Sight
    from concierge.server.processes.identity import Identity
    from concierge.server.processes.owner import Whose
    from concierge.server.record import Record


def ensure(
    llm: Llm,
    *,
    model: str,
    prepare: Callable[[], ServerSpec],
    home: Home,
    say: Callable[[str], None],
    environ: Mapping[str, str],
    lease: Lease | None = None,
    room: Callable[[], bool] = lambda: False,
    whose: Callable[[Address], Whose] = whose,
) -> Endpoint:
    """Return an endpoint that serves ``model``; ``lease`` is then held if its server is ours.

    A server at the default address that serves it is used as it is, if it is this user's own (``whose``). Otherwise
    the server of ``local_llm_start_cmd`` or our own engine is started, or found running. ``prepare`` brings our engine
    and the model into the store and says what to run; it is called only if needed.
    """
    named = llm.endpoint(model=model, environ=environ)
    if not llm.local_llm_start_cmd:
        if (found := adoptable(named, whose, say)) is not None:
            return found
        desired = replace(engine(prepare(), llm, environ), room=room)
        return obtain(desired, home, environ=environ, say=say, lease=lease)
    sight = _look(named, home, patience_s=llm.local_llm_start_timeout_s)
    ours = _launch_of(named, home)
    if sight.serves and (ours is None or join(ours, home, environ=environ, say=say, lease=lease)):
        return replace(sight.endpoint, owned=ours is not None)
    if sight.presence != "refused" and ours is None:
        raise refusal(sight)
    desired = _command(llm, llm.local_llm_start_cmd, named, environ)
    return obtain(desired, home, environ=environ, say=say, lease=lease)


def adoptable(named: Endpoint, whose: Callable[[Address], Whose], say: Callable[[str], None]) -> Endpoint | None:
    """Return the server at the default address if it serves the model, and is this user's own."""
    owner: Whose = whose(named.address) if named.address.loopback else "nobody"
    if owner == "mine":
        sight = look(named)
        return sight.endpoint if sight.serves else None
    if owner != "nobody":
        who = "Another user's server" if owner == "others" else "A server of nobody knows whom"
        say(f"{who} listens at {named.base_url} and is left alone; --base-url {named.base_url} would use it.")
    return None


def theirs(
    llm: Llm, *, environ: Mapping[str, str], say: Callable[[str], None], also: Sequence[str] = (), gentle: bool = False
) -> Endpoint:
    """Return the server that a person named, which is used as it is; nothing is ever started in its place.

    On this machine it is looked at: one that loads is waited for, and ``auto`` is its model where it has one only.

    Raises:
        EndpointError: It cannot be used; the error says what it answered.
    """
    named = llm.endpoint(model=llm.model, environ=environ)
    if not llm.local_llm_ensure_available or not named.address.loopback:
        return named
    sight = look(named, also=also, gentle=gentle)
    deadline = time.monotonic() + (0 if gentle else llm.local_llm_start_timeout_s)
    if sight.presence == "loading" and not gentle:
        say(f"Waiting for the server at {named.base_url}, which loads its model.")
    while sight.presence == "loading" and time.monotonic() < deadline:
        time.sleep(0.25)
        sight = look(named, also=also)
    if sight.serves:
        return sight.endpoint
    if llm.model == "auto" and (found := only_model(sight)) is not None:
        return found
    # Not every server has a list of models; what answers otherwise is asked for the model that was named.
    if sight.presence in ("unlisted", "unasked") and llm.model != "auto":
        return sight.endpoint
    raise refusal(sight)


def healthy(home: Home, lease: Lease, *, environ: Mapping[str, str], say: Callable[[str], None]) -> Endpoint | None:
    """Return the newest server of ours that is ready and answers, with its lease held; None where none does."""
    for launch in launches.here(home):
        record = launch.record
        if record.kind != "engine" or record.state != "ready" or not launch.serves or record.endpoint is None:
            continue
        if not join(launch, home, environ=environ, say=say, lease=lease):
            continue
        answer = near.ask(record.endpoint.root, "/health", timeout=2.0)
        if not isinstance(answer, str) and answer.status == 200:
            return replace(record.endpoint, context=record.context)
        lease.release()
    return None


def _look(named: Endpoint, home: Home, *, patience_s: float) -> Sight:
    """Look at the configured server; one that loads is given time, unless it is our own start that goes on."""
    sight = look(named)
    deadline = time.monotonic() + patience_s
    while sight.presence == "loading" and time.monotonic() < deadline and _launch_of(named, home) is None:
        time.sleep(0.25)
        sight = look(named)
    return sight


def _launch_of(named: Endpoint, home: Home) -> Launch | None:
    """Return the launch of the command that we started for this very ``base_url``, if it still runs."""
    launch = launches.at(home, named.base_url)
    return launch if launch is not None and launch.record.kind == "command" else None


def engine(spec: ServerSpec, llm: Llm, environ: Mapping[str, str]) -> DesiredServer:
    """Return the server of our own engine that ``spec`` describes."""

    def command(key: str) -> Command:
        # Starting is rare and finding a running server is not: what only a start needs is imported by a start.
        from concierge.server.engines.command import engine_command

        return engine_command(spec, key=key, environ=environ)

    def prove(record: Record, members: Sequence[Identity]) -> Endpoint | None:
        return proof.engine_endpoint(record, members, patience_s=llm.local_llm_start_timeout_s, context=spec.context)

    return DesiredServer(
        digest=spec.digest,
        kind="engine",
        model=spec.model,
        title=f"{spec.engine} ({spec.accelerator}) with {spec.model}",
        command=command,
        look=prove,
        limit_s=llm.local_llm_start_timeout_s,
    )


def _command(llm: Llm, words: tuple[str, ...], named: Endpoint, environ: Mapping[str, str]) -> DesiredServer:
    def command(_key: str) -> Command:
        from concierge.server.engines.command import user_command

        return user_command(words, environ=environ)

    def found(_record: Record, _members: Sequence[Identity]) -> Endpoint | None:
        sight = look(named)
        if sight.presence in ("denied", "listed") and not sight.serves:
            raise refusal(sight)
        return replace(sight.endpoint, owned=True) if sight.serves else None

    return DesiredServer(
        digest=_digest({"command": words, "base_url": named.base_url, "model": named.model}),
        kind="command",
        model=named.model,
        title=f"`{words[0]}` for {named.model}",
        command=command,
        look=found,
        limit_s=llm.local_llm_start_timeout_s,
        api_key=named.api_key,
        base_url=named.base_url,
    )


def _digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
