"""The server that the configuration names: what it says it is, and whether it serves the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from concierge.net import near

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.endpoint import Dialect, Endpoint

OWNERS: dict[str, Dialect] = {"llamacpp": "llama-server", "library": "ollama"}
"""What servers write into ``owned_by`` of their model list."""

Presence = Literal["refused", "silent", "loading", "denied", "unlisted", "listed"]
"""Nobody listens; no HTTP; 503; the key is refused; it answers without a model list; it lists its models."""

STATUSES: dict[int, Presence] = {503: "loading", 401: "denied", 403: "denied"}


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at a server showed."""

    presence: Presence
    endpoint: Endpoint
    models: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        return any(same_model(model, self.endpoint.model) for model in self.models)


def look(configured: Endpoint) -> Sight:
    """Ask a server on this machine which models it serves; at most two requests, none when the port refuses."""
    answer = near.ask(configured, "/models")
    if isinstance(answer, str):
        return Sight(answer, configured)
    if answer.status != 200:
        return Sight(STATUSES.get(answer.status, "unlisted"), configured)
    entries = _entries(answer.json())
    if entries is None:
        return Sight("unlisted", configured)
    sight = Sight("listed", configured, tuple(str(entry["id"]) for entry in entries))
    return replace(sight, endpoint=_described(configured, entries)) if sight.serves else sight


def same_model(one: str, other: str) -> bool:
    """Return whether both name one model: a name without a tag means the tag ``latest``."""
    return one.removesuffix(":latest") == other.removesuffix(":latest")


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    # Ollama without any model says null, not an empty list.
    data = document.get("data") or ([] if document.get("object") == "list" else None)
    if not isinstance(data, list):
        return None
    return [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _described(configured: Endpoint, entries: list[Mapping[str, Any]]) -> Endpoint:
    entry = next(entry for entry in entries if same_model(entry["id"], configured.model))
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
