"""Write a document as TOML, one field a line, the same bytes for the same document."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(document: Mapping[str, Any]) -> str:
    """Return ``document`` as TOML in the order of its keys."""
    return "\n".join(_table((), document)).strip("\n") + "\n"


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if not _is_table(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if _is_table(value):
            inner = (*path, key)
            name = ".".join(map(_key, inner))
            for item in [value] if isinstance(value, dict) else value:
                yield ""
                yield f"[{name}]" if isinstance(value, dict) else f"[[{name}]]"
                yield from _table(inner, item)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, (int, float)):
        return repr(value)
    msg = f"{type(value).__name__} has no form here"
    raise TypeError(msg)


def _list(values: list[Any]) -> str:
    if len(values) <= 1:
        return f"[{''.join(map(_value, values))}]"
    return "[\n" + "".join(f"  {_value(value)},\n" for value in values) + "]"


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves bare and TOML forbids.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
