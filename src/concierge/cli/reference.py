"""The configuration, told to people: what holds, and a file to start from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concierge.config import keys, sources
from concierge.config.kinds import Key, Secret
from concierge.endpoint import masked

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Row:
    """One key as it holds: its value, already fit for people's eyes, and who set it."""

    key: str
    value: Any
    place: str

    @property
    def shown(self) -> str:
        return "unset" if self.value is None else json.dumps(self.value, ensure_ascii=False)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def effective(*, environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> list[Row]:
    """Return every key with the value that holds and its place; secrets are masked.

    Raises:
        ConfigError: A file cannot be read, a key is unknown, or a value has the wrong type.
    """
    found = sources.settings({}, environ=environ, folder=folder or Path())
    whole = sources.build(found)
    known = [
        Row(".".join(key), plain(_at(whole, key)), found[key].place if key in found else "default")
        for key in keys.known_keys()
    ]
    servers = [key for key in found if keys.server_of(key)]
    return [*known, *(Row(".".join(key), plain(found[key].value), found[key].place) for key in servers)]


def template() -> str:
    """Return a concierge.toml in which every key of a project stands with its meaning and default, commented out."""
    lines = ["# concierge.toml: what this project wants of its local LLM. docs/configuration.md explains each key.", ""]
    sections: dict[str, list[str]] = {}
    for key, field in keys.known_keys().items():
        if key in sources.PERSONAL:
            continue
        default = plain(field.default)
        value = _example(field) if default is None else json.dumps(default)
        sections.setdefault(".".join(key[:-1]), []).append(f"# {field.description}\n# {key[-1]} = {value}\n")
    lines += sections.pop("", [])
    for section, entries in sections.items():
        lines += [f"[{section}]", *entries]
    return "\n".join(lines)


def _at(section: object, key: keys.KeyPath) -> object:
    for word in key:
        section = getattr(section, word)
    return section


def plain(value: object) -> Any:
    if isinstance(value, Secret):
        return "**********"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, tuple):
        pairs = all(isinstance(part, tuple) for part in value)
        return {name: plain(part) for name, part in value} if value and pairs else [plain(part) for part in value]
    return value


def _example(field: Key) -> str:
    return '["ollama", "serve"]' if field.kind.name == "list of words" else '"..."'
