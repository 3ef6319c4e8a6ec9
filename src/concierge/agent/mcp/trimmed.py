"""What a model is told of a server's tool: as much of its schema as a small model can use.

Source: the ``inputSchema`` of the Model Context Protocol is JSON Schema; servers write references, titles, defaults
and pages of prose into it, and each token of that stands before every step.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from concierge.agent.protocols.port import Spec

DESCRIPTION_CHARS = 300
ARGUMENT_CHARS = 120
NAME_CHARS = 64
"""As long as the chat-completions API lets a name be."""
DEEPEST = 4
"""Levels of a nested argument; what is deeper is told to be an object."""
_KEPT = ("type", "enum", "const")


def identifier(name: str, *, server: str, taken: Collection[str]) -> str:
    """Return a name that every spelling of a call can hold, and no other tool has."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:NAME_CHARS]
    if plain not in taken:
        return plain
    longer = re.sub(r"\W", "_", f"{server}_{name}", flags=re.ASCII)[:NAME_CHARS]
    number = 2
    while longer in taken:
        longer, number = f"{longer[: NAME_CHARS - 4]}_{number}", number + 1
    return longer


def trimmed(name: str, description: str | None, schema: Mapping[str, Any]) -> Spec:
    """Return a tool in the chat-completions format; every argument has a type."""
    definitions = _table(schema.get("$defs")) or _table(schema.get("definitions"))
    properties = {
        str(key): _argument(part, definitions, DEEPEST) for key, part in _table(schema.get("properties")).items()
    }
    required = schema.get("required")
    parameters = {
        "type": "object",
        "properties": properties,
        "required": [key for key in required if isinstance(key, str) and key in properties]
        if isinstance(required, list)
        else [],
    }
    told = _short(description, DESCRIPTION_CHARS) or f"Call {name}."
    return {"type": "function", "function": {"name": name, "description": told, "parameters": parameters}}


def _argument(part: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    said = _table(part)
    plain = _chosen(said, definitions)
    found = {key: plain[key] for key in _KEPT if key in plain}
    if isinstance(found.get("type"), list):
        found["type"] = next((kind for kind in found["type"] if kind != "null"), None)
    if not isinstance(found.get("type"), str):
        found.pop("type", None)
    found.setdefault("type", "object" if "properties" in plain else "string")
    if found["type"] == "array":
        found["items"] = _argument(plain.get("items"), definitions, depth - 1) if depth else {"type": "string"}
    if found["type"] == "object" and depth and (inner := _table(plain.get("properties"))):
        found["properties"] = {str(key): _argument(each, definitions, depth - 1) for key, each in inner.items()}
    if text := _short(said.get("description") or plain.get("description"), ARGUMENT_CHARS):
        found["description"] = text
    return found


def _chosen(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a part means: behind its reference, and the first of several forms that is not null."""
    for _ in range(DEEPEST):
        reference = part.get("$ref")
        forms = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
        if isinstance(reference, str):
            part = _table(definitions.get(reference.rpartition("/")[2]))
        elif isinstance(forms, list):
            part = next((form for form in map(_table, forms) if form and form.get("type") != "null"), {})
        else:
            break
    return part


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _short(text: Any, most: int) -> str:
    """Return the first paragraph of a text on one line, cut behind a word."""
    line = " ".join(str(text or "").strip().split("\n\n")[0].split())
    return line if len(line) <= most else f"{line[:most].rsplit(' ', 1)[0]} …"
