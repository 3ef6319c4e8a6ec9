"""The server that the configuration names: what it answers, in its own words, and whether it serves the model."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from concierge import jsontext
from concierge.endpoint import masked
from concierge.errors import EndpointError
from concierge.net import near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.endpoint import Dialect, Endpoint
    from concierge.net.near import Answer

OWNERS: dict[str, Dialect] = {"llamacpp": "llama-server", "library": "ollama"}
"""What servers write into ``owned_by`` of their model list."""

Presence = Literal[
    "refused", "busy", "untrusted", "silent",
    "loading", "denied", "limited", "broken", "moved", "page", "unlisted", "unasked", "listed",
]  # fmt: skip
"""Nobody listens; somebody does and says nothing in time; over TLS that is not trusted; not in HTTP. It loads its model
(503); refuses the key; asks for a pause (429); is out of order (5xx); redirects; shows a web page; answers without a
model list; was not asked for it, since that would cut an answer in progress; lists its models."""

STATUSES: dict[int, Presence] = {503: "loading", 401: "denied", 403: "denied", 429: "limited"}

_WANTS_KEY = re.compile(r"(?i)\bauth|api[ _-]?key|no_db_connection|no connected db|token not found")
"""How LiteLLM refuses a key, with 400 and with 500."""

INTERRUPTS = "llama.cpp Python API"
"""What llama-cpp-python calls itself. Its one lock serves ``GET /models`` as well, which ends an answer in progress."""

SHOWN = 8
"""Models that a sentence names."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at a server showed.

    Attributes:
        endpoint: The server; where it serves the model, by the name that it has there.
        status: The HTTP status, if there was one.
        said: The server's own words, on one line.
        place: Where a redirect leads.
    """

    presence: Presence
    endpoint: Endpoint
    models: tuple[str, ...] = ()
    serves: bool = False
    status: int | None = None
    said: str = ""
    place: str = ""


def look(configured: Endpoint, *, also: Sequence[str] = (), gentle: bool = False, timeout: float = 3.0) -> Sight:
    """Ask a server on this machine which models it serves; at most three requests, none when the port refuses.

    ``also`` holds further names of the model, as the catalogue has them. A ``gentle`` look asks nothing that could
    cut an answer in progress.
    """
    if gentle and _interrupts(configured, timeout):
        return Sight("unasked", configured)
    sight = _asked(configured, also, timeout)
    if sight.presence in ("page", "unlisted") and not configured.address.path:
        below = replace(configured.address, path="/v1")
        inside = _asked(replace(configured, base_url=str(below), address=below), also, timeout)
        return inside if inside.presence == "listed" else sight
    return sight


def only_model(sight: Sight) -> Endpoint | None:
    """Return the server with its model where it serves just one."""
    return replace(sight.endpoint, model=sight.models[0]) if len(sight.models) == 1 else None


def refusal(sight: Sight) -> EndpointError:
    """Return why the server that a person named cannot be used, in its own words, and what to do."""
    url, key = sight.endpoint.base_url, sight.endpoint.authorization
    answers = f"answers {sight.status}" + (f": {sight.said}" if sight.said else "")
    refuses = "refuses the key" if key else "wants a key, and none is set for it"
    wanted, served = sight.endpoint.model, ", ".join(sight.models[:SHOWN]) or "no model at all"
    if len(sight.models) > SHOWN:
        served += f" and {len(sight.models) - SHOWN} more"
    none, choose = f"not `{wanted}`", f"add `{wanted}` to that server, or change `base_url`."
    choose = f"Set `model` to one of them, {choose}" if sight.models else f"A{choose[1:]}"
    if wanted == "auto":
        none, choose = "and `model` names none of them", "Set `model` to one of them."
    what, hint = {
        "refused": ("does not answer: nobody listens there", "Start it, correct `base_url`, or unset it."),
        "busy": ("is busy: it took the connection and said nothing", "Try again when it is free."),
        "untrusted": ("has a certificate that is not trusted", "Set SSL_CERT_FILE to the authority that signed it."),
        "silent": ("does not speak HTTP", "Correct `base_url`."),
        "loading": (f"is still loading ({answers})", "Try again when it is ready."),
        "denied": (f"{refuses} ({answers})", "Set `api_key_env` to the variable that holds its key."),
        "limited": (f"asks for a pause ({answers})", "Try again later."),
        "broken": (f"is out of order ({answers})", "Look at its own log."),
        "moved": (f"redirects to {masked(sight.place)}", "Set `base_url` to where its API is."),
        "page": (f"shows a web page, no API ({answers})", "`base_url` usually ends in /v1."),
        "unlisted": (f"does not list its models ({answers})", "`base_url` usually ends in /v1."),
        "unasked": ("was not asked for its models", "Set `model` to the name that it knows."),
        "listed": (f"serves {served}, {none}", choose),
    }[sight.presence]
    return EndpointError(f"The server at {url} {what}.", where=url, hint=hint)


def _interrupts(configured: Endpoint, timeout: float) -> bool:
    answer = near.ask(configured.root, "/openapi.json", timeout=timeout)
    if isinstance(answer, str) or answer.status != 200:
        return False
    info = answer.json().get("info")
    return isinstance(info, dict) and INTERRUPTS in str(info.get("title"))


def _asked(configured: Endpoint, also: Sequence[str], timeout: float) -> Sight:
    answer = near.ask(configured, "/models", timeout=timeout)
    if isinstance(answer, str):
        return Sight(answer, configured)
    entries = _entries(answer.json()) if answer.status == 200 else None
    if entries is None:
        return Sight(_kind(answer), configured, status=answer.status, said=said(answer), place=answer.location)
    models = tuple(str(entry["id"]) for entry in entries)
    sight = Sight("listed", configured, models, status=answer.status)
    entry = _match(entries, (configured.model, *also))
    return sight if entry is None else replace(sight, endpoint=_described(configured, entry), serves=True)


def _kind(answer: Answer) -> Presence:
    if answer.status in STATUSES:
        return STATUSES[answer.status]
    if answer.status in (400, 500) and _WANTS_KEY.search(answer.body.decode(errors="replace")):
        return "denied"
    if 300 <= answer.status < 400 and answer.location:
        return "moved"
    if answer.status >= 500:
        return "broken"
    return "page" if answer.body.lstrip()[:1] == b"<" else "unlisted"


def said(answer: Answer) -> str:
    """Return a server's own words about a request that it did not serve, on one line."""
    try:
        told: Any = jsontext.parse(answer.body)
    except ValueError:
        text = answer.body[:4096].decode(errors="replace")
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
        told = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    for _ in range(3):
        if isinstance(told, dict):
            told = next((told[name] for name in ("error", "message", "detail", "msg") if told.get(name)), "")
    line = " ".join(told.split()) if isinstance(told, str) else ""
    return "".join(character for character in line if character.isprintable())[:200].rstrip(".")


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    # Ollama without any model says null, not an empty list.
    data = document.get("data") or ([] if document.get("object") == "list" else None)
    if not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _match(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the entry of the model: by the exact name, else by one that its server's own tools use for it."""
    for name in names:
        exact = [entry for entry in entries if entry["id"] == name]
        if found := exact or [entry for entry in entries if name in _spellings(entry)]:
            return found[0]
    return None


def _spellings(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what else a server's own tools call its model: Ollama's and Docker's leave out the tag ``latest``."""
    name, owner = entry["id"], entry.get("owned_by")
    if owner == "docker":
        name = name.removeprefix("docker.io/")
    elif owner != "library":
        return ()
    return (name, name.removesuffix(":latest"), f"{name}:latest")


def _described(configured: Endpoint, entry: Mapping[str, Any]) -> Endpoint:
    dialect = OWNERS.get(str(entry.get("owned_by")), configured.dialect)
    context = entry.get("max_model_len")
    if dialect == "llama-server":
        context = props_context(near.ask(configured.root, "/props"))
    context = context if isinstance(context, int) else None
    return replace(configured, model=entry["id"], dialect=dialect, context=context)


def props_context(answer: near.Answer | near.Silence) -> int | None:
    """Return the tokens that a llama-server says it gives to one request."""
    if isinstance(answer, str) or answer.status != 200:
        return None
    settings = answer.json().get("default_generation_settings")
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    return context if isinstance(context, int) else None
