"""The JSON objects that programs read, from files, from ``--json`` and from the HTTP API: one vocabulary for all."""

from __future__ import annotations

from typing import Any

SCHEMA = 1
"""Moves when a key changes its meaning or goes; a new key does not move it. docs/json.md lists the keys."""


def document(**fields: Any) -> dict[str, Any]:
    """Return a whole object, which says by which schema it is to be read."""
    return {"schema": SCHEMA, **fields}
