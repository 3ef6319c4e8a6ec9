"""Make sure that a server serves the model: use the one that is there, or have ours."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.errors import EndpointError
from concierge.server import launches, proof
from concierge.server.look import look
from concierge.server.supervisor import DesiredServer, join, obtain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from concierge.config.keys import Llm
    from concierge.deploy.generation import ServerSpec
    from concierge.endpoint import Endpoint
    from concierge.paths import Home
    from concierge.server.engines.command import Command
    from concierge.server.launches import Launch
    from concierge.server.leases import Lease
    from concierge.server.look import Sight
    from concierge.server.processes.identity import Identity
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
) -> Endpoint:
    """Return an endpoint that serves ``model``; ``lease`` is then held if its server is ours.

    A server at ``base_url`` that serves it is used as it is. Otherwise the server of ``local_llm_start_cmd`` or
    our own engine is started, or found running. For another machine's ``base_url``, with ensuring switched off,
    and for engines that concierge never starts, nothing is ever started. ``prepare`` brings our engine and the model
    into the store and says what to run; it is called only if needed.
    """
    named = llm.endpoint(model=model, environ=environ)
    if not llm.local_llm_ensure_available or not named.address.loopback:
        return named
    waits = llm.never_started or bool(llm.local_llm_start_cmd)
    sight = _look(named, home, patience_s=llm.local_llm_start_timeout_s if waits else 0)
    ours = _launch_of(named, home)
    if sight.serves and (ours is None or join(ours, home, environ=environ, say=say, lease=lease)):
        return replace(sight.endpoint, owned=ours is not None)
    if llm.never_started:
        return _as_it_is(sight)
    if not llm.local_llm_start_cmd:
        desired = replace(_engine(prepare(), llm, environ), room=room)
        return obtain(desired, home, environ=environ, say=say, lease=lease)
    if sight.presence != "refused" and ours is None:
        raise _occupied(sight)
    desired = _command(llm, llm.local_llm_start_cmd, named, environ)
    return obtain(desired, home, environ=environ, say=say, lease=lease)


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


def _as_it_is(sight: Sight) -> Endpoint:
    if sight.presence == "unlisted":
        return sight.endpoint
    url = sight.endpoint.base_url
    if sight.presence in ("refused", "silent"):
        raise EndpointError(
            f"No server answers at {url}.",
            where=url,
            hint="Start it, or choose another `engine`: this one is never started by concierge.",
        )
    raise _occupied(sight)


def _occupied(sight: Sight) -> EndpointError:
    url = sight.endpoint.base_url
    wanted, served = sight.endpoint.model, ", ".join(sight.models[:8])
    choose = "Set `model` to one of them, add" if served else "Add"
    says = {
        "denied": ("refuses the key", "Set `api_key_env` to the variable that holds its key."),
        "loading": ("is still loading", "Try again when it is ready."),
        "silent": ("does not speak HTTP", "Correct `base_url`."),
        "unlisted": ("does not list its models", "`base_url` usually ends in /v1."),
        "listed": (
            f"serves {served or 'no model at all'}, not `{wanted}`",
            f"{choose} `{wanted}` to that server, or change `base_url`.",
        ),
    }
    what, hint = says[sight.presence]
    return EndpointError(f"The server at {url} {what}.", where=url, hint=hint)


def _engine(spec: ServerSpec, llm: Llm, environ: Mapping[str, str]) -> DesiredServer:
    def command(key: str) -> Command:
        # Starting is rare and finding a running server is not: what only a start needs is imported by a start.
        from concierge.server.engines.command import engine_command

        return engine_command(spec, key=key, environ=environ)

    def prove(record: Record, members: Sequence[Identity]) -> Endpoint | None:
        return proof.engine_endpoint(record, members, patience_s=llm.local_llm_start_timeout_s)

    return DesiredServer(
        digest=spec_digest(spec),
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
            raise _occupied(sight)
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


def spec_digest(spec: ServerSpec) -> str:
    """Return the digest of what is wanted: equal digests are the same bytes served in the same way."""
    return _digest(
        {
            "engine": [spec.engine, spec.launcher, spec.accelerator, spec.engine_sha256, spec.executable],
            "model": [spec.model, spec.model_sha256],
            "context": spec.context,
            "parameters": spec.parameters,
        }
    )


def _digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
