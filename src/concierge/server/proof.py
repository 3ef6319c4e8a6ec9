"""The proof that our own engine is ready: it is our process that answers, with our key, and it generates."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.endpoint import Endpoint
from concierge.errors import StartError, UnfitError
from concierge.net import near
from concierge.server.look import props_context
from concierge.server.processes import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.server.processes.identity import Identity
    from concierge.server.record import Record

QUESTION = {
    "messages": [{"role": "user", "content": "Count from one to five, in words."}],
    "max_tokens": 12,
    "temperature": 0,
    "stream": False,
}

SIGNS = 8
"""Of fewer, nothing is concluded."""


def engine_endpoint(
    record: Record, members: Sequence[Identity], *, patience_s: float, context: int | None = None
) -> Endpoint | None:
    """Return the endpoint of our engine once it is proven, None while it is still loading.

    A server that was proven when it started is not made to generate again: two requests, none of them queued.

    Its first answer may take ``patience_s``, and a request must be given ``context`` tokens at least.

    Raises:
        UnfitError: It does not generate, answers nonsense, or gives less context.
        StartError: It is not ours that answers.
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
    given = props_context(props)
    if record.state != "ready":
        if context is not None and given is not None and given < context:
            raise _unproven(
                record, f"it gives a request {given} tokens of context, and {context} are wanted", UnfitError
            )
        _prove_generation(record, server, patience_s)
    return replace(server, context=given)


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
                if nonsense(text := _text(answer)):
                    raise _unproven(record, f"it answers nonsense ({text[:40]!r})", UnfitError)
                return
            said = f"{answer.status} {answer.body[:200].decode('utf-8', errors='replace')}"
    raise _unproven(record, f"it loads but does not generate (it said {said})", UnfitError)


def _generated(answer: near.Answer) -> bool:
    document = answer.json()
    usage = document.get("usage")
    counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return bool(document.get("choices")) and counted != 0


def _text(answer: near.Answer) -> str:
    """Return all that was written, thought or said; nothing where it is in no place that is known."""
    choice = answer.json()["choices"][0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return ""
    return "".join(str(message.get(name) or "") for name in ("reasoning_content", "content"))


def nonsense(text: str) -> bool:
    """Tell whether no model would write this: what comes of a kernel that computes wrongly.

    That is one sign again and again (``@@@@@@@@``, ``GGGGGGGG``), or bytes that are no text. A small model's foolish
    words are none: they are words.
    """
    signs = [sign for sign in text if not sign.isspace()]
    if len(signs) < SIGNS:
        return False
    broken = sum(sign == "\ufffd" or not sign.isprintable() for sign in signs)
    return len(set(signs)) <= 2 or broken > len(signs) / 2


def _unproven(record: Record, why: str, kind: type[StartError] = StartError) -> StartError:
    return kind(
        f"The server that was started for {record.model} cannot be trusted: {why}.",
        where=record.log,
        hint="Its log may say more; `concierge down` and another try start a new one.",
    )
