"""How the model at an endpoint acts: as is configured, as was measured, as it was found to, or it is asked."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from concierge.errors import ChatError, StoreError
from concierge.server import capabilities
from concierge.server.capabilities import Capability

if TYPE_CHECKING:
    from collections.abc import Collection

    from concierge.endpoint import Endpoint
    from concierge.river.parts import Parts
    from concierge.server.leases import Lease

UNASKED = "native"
"""What is taken where nothing is known: it works, more or less, with every model that takes tools at all."""


def known(parts: Parts, endpoint: Endpoint) -> str | None:
    """Return how it acts, without asking it; None where it was never asked."""
    if parts.config.llm.protocol != "auto":
        return parts.config.llm.protocol
    if endpoint.protocol is not None:
        return endpoint.protocol
    found = capabilities.find(parts.home, server_of(parts, endpoint), endpoint.model)
    return None if found is None else found.protocol


async def protocol(parts: Parts, endpoint: Endpoint, leases: Collection[Lease]) -> str:
    """Return how it acts; one that nobody measured is asked once, and what it does is kept."""
    if not endpoint.tools:
        return UNASKED
    if (given := known(parts, endpoint)) is not None:
        return given
    from concierge.agent.protocols.probe import probe
    from concierge.river.converse import Client

    parts.say(f"{endpoint.model} is asked once how it acts.")
    try:
        async with Client(parts, endpoint, leases) as chat:
            found = await probe(chat, endpoint.model)
    except ChatError:
        return UNASKED  # Whatever it is, the run meets it again and says so.
    if found is None:
        return UNASKED
    parts.say(f"It acts {capabilities.ACTS[found]}; `llm.protocol` overrules it.")
    with suppress(StoreError):
        capabilities.keep(parts.home, Capability(server_of(parts, endpoint), endpoint.model, found))
    return found


def server_of(parts: Parts, endpoint: Endpoint) -> str:
    """Return what stands for the server: one of ours has another address each time."""
    current = parts.generations.current() if endpoint.owned else None
    if current is None or current.spec.model != endpoint.model:
        return str(endpoint.base_url)
    return f"{current.spec.build} {current.spec.model_sha256}"
