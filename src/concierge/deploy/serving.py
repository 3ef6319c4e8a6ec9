"""The serving parameters that change what a server answers or how much memory it takes."""

from __future__ import annotations

PARAMETERS: tuple[tuple[str, str], ...] = (
    # What every build can do on every accelerator, so that two machines answer alike.
    ("cache_type_k", "f16"),
    ("cache_type_v", "f16"),
    # One request at a time gets the whole context: with more slots each could get a share of it, silently.
    ("parallel", "1"),
)
"""Sorted (name, value) pairs, the same for every machine."""
