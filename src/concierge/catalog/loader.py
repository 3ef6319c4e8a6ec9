"""Read the catalogue that ships with concierge."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from concierge.catalog.types import Catalog

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SCHEMA = 1


def load(folder: Traversable | None = None) -> Catalog:
    """Read ``engines.toml`` and ``models.toml`` from ``folder``, or the ones that ship with concierge."""
    folder = folder or files("concierge.catalog")
    return Catalog.model_validate(
        {
            "builds": _entries(folder, "engines.toml", "build"),
            "models": _entries(folder, "models.toml", "model"),
        }
    )


def _entries(folder: Traversable, name: str, key: str) -> list[Any]:
    document = tomllib.loads((folder / name).read_text(encoding="utf-8"))
    if document.pop("schema", None) != SCHEMA:
        msg = f"{name}: schema is not {SCHEMA}"
        raise ValueError(msg)
    entries: list[Any] = document.pop(key)
    if document:
        msg = f"{name}: unknown tables {sorted(document)}"
        raise ValueError(msg)
    return entries
