"""What was asked for, and what the machine was: small lists of names and values that are compared and told."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from concierge.catalog import reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from concierge.config.keys import Llm

Pairs = tuple[tuple[str, str], ...]

ASKED = ("engine", "model", "context", "accelerator")
"""The keys of ``llm`` that decide what is deployed; the others say how to reach it."""


def question(llm: Llm, pins: Mapping[str, bytes], *, folder: Path | None = None) -> Pairs:
    """Return what is asked for: the deciding keys, and digests of the pins they are resolved from, sorted by name.

    A model file counts with its path, size and time: a warm start does not wait for its hash.
    """
    wanted = {key: str(getattr(llm, key)) for key in ASKED}
    file = reference.state(reference.parse(llm.model, folder=folder))
    if file:
        wanted["file"] = json.dumps(file)
    return tuple(sorted({**wanted, **{name: hashlib.sha256(pin).hexdigest() for name, pin in pins.items()}}.items()))


def asked_digest(question: Pairs) -> str:
    """Return the digest of what is asked for."""
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


def askings(question: Pairs) -> set[str]:
    """Return the digests of what is asked for, with nothing but the lock and without: who looks need not say which."""
    others = tuple(pair for pair in question if pair[0] != LOCKED)
    locked = tuple(sorted((*others, (LOCKED, hashlib.sha256(LOCKED.encode()).hexdigest()))))
    return {asked_digest(others), asked_digest(locked)}


def differences(before: Pairs, now: Pairs) -> list[str]:
    """Return what differs between two lists of names and values; a sum of memory only by more than a tenth of it."""
    old, new = dict(before), dict(now)
    return [
        f"{name} {_short(old.get(name))} → {_short(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not (name == MEMORY and _close(old.get(name), new.get(name)))
    ]


LOCKED = "locked"
"""What a question is called that nothing but the lock may answer."""

MEMORY = "memory"
"""The mark of a machine that is a sum of bytes."""


def _close(old: str | None, new: str | None) -> bool:
    try:
        return abs(int(old or "") - int(new or "")) <= int(old or "") / 10
    except ValueError:
        return False


def _short(value: str | None) -> str:
    if value is None:
        return "unset"
    return value[:12] if len(value) == 64 and value.isalnum() else value


def same_machine(before: Pairs, now: Pairs) -> bool:
    return not before or not now or not differences(before, now)
