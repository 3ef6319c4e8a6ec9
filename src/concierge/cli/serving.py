"""Construct the HTTP API and serve it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.river.river import River


def serve(river: River) -> None:
    """Make sure that a local LLM answers, then serve the API until a signal.

    Raises:
        ConciergeError: The LLM cannot be had, or the address cannot be listened on.
    """
    from concierge.api import server
    from concierge.api.app import create_app

    host, port, chosen = river.config.api.host, river.config.api.port, river.config.api.token
    server.refuse_exposure(host, token_chosen=chosen is not None)
    if river.config.llm.local_llm_ensure_available:
        river.up()
    token = chosen.get_secret_value() if chosen else secrets.token_urlsafe(24)

    def ready(url: str) -> None:
        river.say(f"Serving {url}")
        if chosen is None:
            river.say(f"Bearer token for this start: {token}")

    app = create_app(river, token=token, hosts=(host,))
    server.serve(app, host=host, port=port, token_chosen=chosen is not None, on_ready=ready)
