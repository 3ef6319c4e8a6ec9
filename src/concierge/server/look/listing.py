"""The server that the configuration names: what it says it is, and whether it serves the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from concierge.endpoint import Endpoint
from concierge.server.look import http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.config.keys import Llm
    from concierge.endpoint import Dialect

OWNERS: dict[str, Dialect] = {"llamacpp": "llama-server", "library": "ollama"}
"""What servers write into ``owned_by`` of their model list."""

HOSTS: dict[str, Dialect] = {
    "api.openai.com": "openai",
    ".openai.azure.com": "azure",
    ".services.ai.azure.com": "azure",
    ".cognitiveservices.azure.com": "azure",
}

Presence = Literal["refused", "silent", "loading", "denied", "unlisted", "listed"]
"""Nobody listens; no HTTP; 503; the key is refused; it answers without a model list; it lists its models."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at a server showed."""

    presence: Presence
    endpoint: Endpoint
    models: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        return any(same_model(model, self.endpoint.model) for model in self.models)


def endpoint(llm: Llm, *, model: str, environ: Mapping[str, str]) -> Endpoint:
    """Return ``base_url`` as the configuration describes it, without asking anybody."""
    base_url = llm.base_url.rstrip("/")
    return Endpoint(base_url, model, api_key=_key(llm, environ), dialect=_dialect_of_host(base_url))


def look(configured: Endpoint) -> Sight:
    """Ask a server on this machine which models it serves; at most two requests, none when the port refuses."""
    address = http.loopback(configured.base_url)
    assert address is not None, "only servers on this machine are asked"
    answer = http.get(address, "/models", key=configured.api_key)
    if isinstance(answer, str):
        return Sight(answer, configured)
    if answer.status != 200:
        presence: Presence = {503: "loading", 401: "denied", 403: "denied"}.get(answer.status, "unlisted")  # type: ignore[assignment]
        return Sight(presence, configured)
    entries = _entries(answer.json())
    if entries is None:
        return Sight("unlisted", configured)
    sight = Sight("listed", configured, tuple(str(entry["id"]) for entry in entries))
    return replace(sight, endpoint=_described(configured, address, entries)) if sight.serves else sight


def same_model(one: str, other: str) -> bool:
    """Return whether both name one model: a name without a tag means the tag ``latest``."""
    return one.removesuffix(":latest") == other.removesuffix(":latest")


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    # Ollama without any model says null, not an empty list.
    data = document.get("data") or ([] if document.get("object") == "list" else None)
    if not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _described(configured: Endpoint, address: http.Address, entries: list[Mapping[str, Any]]) -> Endpoint:
    entry = next(entry for entry in entries if same_model(entry["id"], configured.model))
    dialect = OWNERS.get(str(entry.get("owned_by")), configured.dialect)
    context = entry.get("max_model_len")
    if dialect == "llama-server":
        context = props_context(http.get(replace(address, root=""), "/props", key=configured.api_key))
    context = context if isinstance(context, int) else None
    return replace(configured, model=entry["id"], dialect=dialect, context=context)


def props_context(answer: http.Answer | http.Silence) -> int | None:
    """Return the tokens that a llama-server says it gives to one request."""
    if isinstance(answer, str) or answer.status != 200:
        return None
    settings = answer.json().get("default_generation_settings")
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    return context if isinstance(context, int) else None


def _key(llm: Llm, environ: Mapping[str, str]) -> str | None:
    if llm.api_key is not None:
        return llm.api_key.get_secret_value()
    return environ.get(llm.api_key_env) if llm.api_key_env else None


def _dialect_of_host(base_url: str) -> Dialect:
    host = urlsplit(base_url).hostname or ""
    return next((dialect for end, dialect in HOSTS.items() if host == end or host.endswith(end)), "generic")
