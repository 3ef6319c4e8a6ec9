"""The proof that our own engine is ready: it is our process that answers, with our key, and it generates."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.endpoint import Endpoint
from concierge.errors import StartError
from concierge.net import near
from concierge.server.look import props_context
from concierge.server.processes import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.server.processes.identity import Identity
    from concierge.server.record import Record

QUESTION = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0, "stream": False}


def engine_endpoint(record: Record, members: Sequence[Identity], *, patience_s: float) -> Endpoint | None:
    """Return the endpoint of our engine once it is proven, None while it is still loading.

    A server that was proven when it started is not made to generate again: two requests, none of them queued.
    """
    socket = next((socket for socket in table.listening(members) if socket.host == "127.0.0.1"), None)
    if socket is None:
        return None
    url = f"http://{socket.host}:{socket.port}/v1"
    server = Endpoint(url, record.model, record.api_key, dialect="llama-server", owned=True)
    # Before our key goes to whoever it is.
    if not table.sole_listener(socket, members):
        raise _unproven(record, f"another process listens on port {socket.port} too")
    props = near.ask(server.root, "/props")
    if isinstance(props, str) or props.status == 503:
        return None
    if not _owner_proven(record, server, props):
        return None
    if record.state != "ready":
        _prove_generation(record, server, patience_s)
    return replace(server, context=props_context(props))


def _owner_proven(record: Record, server: Endpoint, props: near.Answer) -> bool:
    if props.status != 200:
        raise _unproven(record, f"it answers our key with {props.status}")
    stranger = near.ask(replace(server.root, api_key=secrets.token_hex(16)), "/props")
    if isinstance(stranger, str):
        return False
    if stranger.status not in (401, 403):
        raise _unproven(record, f"it answers a wrong key with {stranger.status}")
    served = str(props.json().get("model_alias") or record.model)
    if served != record.model:
        raise _unproven(record, f"it serves `{served}`")
    return True


def _prove_generation(record: Record, server: Endpoint, patience_s: float) -> None:
    said = "nothing"
    for _ in range(2):
        asked = {"model": record.model, **QUESTION}
        answer = near.ask(server, "/chat/completions", asked, timeout=patience_s)
        if not isinstance(answer, str):
            if answer.status == 200 and _generated(answer):
                return
            said = f"{answer.status} {answer.body[:200].decode('utf-8', errors='replace')}"
    raise _unproven(record, f"it loads but does not generate (it said {said})")


def _generated(answer: near.Answer) -> bool:
    document = answer.json()
    usage = document.get("usage")
    counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return bool(document.get("choices")) and counted != 0


def _unproven(record: Record, why: str) -> StartError:
    return StartError(
        f"The server that was started for {record.model} cannot be trusted: {why}.",
        where=record.log,
        hint="Its log may say more; `concierge down` and another try start a new one.",
    )
