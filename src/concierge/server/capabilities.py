"""What servers were found to do: ``$CONCIERGE_HOME/endpoints.json``. What cannot be read was not asked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from concierge import files, jsontext, paths

if TYPE_CHECKING:
    from concierge.paths import Home

SCHEMA = 1
KEPT = 64
"""Endpoints that are kept: the newest."""


ACTS = {"native": "by tool calls", "shell": "with shell commands", "json": "by JSON actions"}
"""How a model acts, by its protocol, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What one model does at one server.

    Attributes:
        server: Its address; for a server of ours, whose address changes, the engine and the model's hash.
        model: As the server calls it.
        protocol: How it acts: ``native``, ``shell`` or ``json``.
    """

    server: str
    model: str
    protocol: str


def find(home: Home, server: str, model: str) -> Capability | None:
    """Return what is known of a model at a server; None where it was not asked."""
    return next((each for each in _load(home) if (each.server, each.model) == (server, model)), None)


def keep(home: Home, capability: Capability) -> None:
    """Remember what was found out, in the place of what was known of the same.

    Raises:
        StoreError: It cannot be written.
    """
    others = [each for each in _load(home) if (each.server, each.model) != (capability.server, capability.model)]
    with files.storing(home.endpoints):
        paths.make(home.root, home.root)
        document = {"schema": SCHEMA, "endpoints": [asdict(each) for each in [*others, capability][-KEPT:]]}
        files.replace(home.endpoints, f"{json.dumps(document, indent=2)}\n".encode(), mode=0o600)


def _load(home: Home) -> list[Capability]:
    try:
        document = jsontext.parse(home.endpoints.read_bytes())
        if document.pop("schema") != SCHEMA:
            return []
        return [Capability(**each) for each in document["endpoints"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
