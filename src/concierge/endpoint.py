"""What a client must know to talk to a model, and nothing about where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Dialect = Literal["llama-server", "ollama", "openai", "azure", "generic"]
"""Which server speaks the chat-completions API: their differences are a capability record, not a class."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answers ``POST {base_url}/chat/completions`` for ``model``.

    Attributes:
        base_url: Ends in the API root, usually ``/v1``; no trailing slash.
        model: The name that the server expects.
        api_key: Sent as a bearer token (or ``api-key`` for Azure); never printed.
        dialect: Whose flavour of the API it is.
        owned: True when concierge started the server and may stop it.
        context: Tokens that the server really gives to one request, where known.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    dialect: Dialect = "generic"
    owned: bool = False
    context: int | None = None
