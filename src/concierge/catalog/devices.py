"""Devices that are known for trouble, as the catalogue has them."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.platforms import Accelerator


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one device with one accelerator.

    Attributes:
        name: Part of the device's own name.
        reason: What goes wrong, as the rest of a sentence.
        source: Who says so.
    """

    name: str
    accelerator: Accelerator
    reason: str
    fix: str
    source: str


def known(name: str, accelerator: Accelerator) -> Known | None:
    """Return what is known of the device of that name, or None."""
    return next((entry for entry in _entries() if entry.accelerator == accelerator and entry.name in name), None)


@functools.cache
def _entries() -> tuple[Known, ...]:
    document = tomllib.loads((files("concierge.catalog") / "devices.toml").read_text(encoding="utf-8"))
    return tuple(Known(**entry) for entry in document["device"])
