"""JSON that a stranger wrote: whatever it holds, the answer is a value or a ``ValueError``.

How long the text may be is for whoever reads the bytes to say.
"""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 100
"""Nobody nests further on purpose, and what is nested further may not survive being copied or written again."""

_DECODER, _LENIENT = json.JSONDecoder(), json.JSONDecoder(strict=False)


def parse(text: str | bytes) -> Any:
    """Return the value of a whole text."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _shallow(value, text)


def first(text: str, *, lenient: bool = False) -> tuple[Any, int]:
    """Return the value that a text begins with, and where it ends; ``lenient`` takes line breaks inside of strings."""
    try:
        value, end = (_LENIENT if lenient else _DECODER).raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _shallow(value, text), end


def parse_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the one object that the text is, or None when it is anything else."""
    try:
        value = parse(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _shallow(value: Any, text: str) -> Any:
    # Counting brackets is far cheaper than walking through the value, and nearly always enough.
    if text.count("[") + text.count("{") > DEEPEST and _deeper(value, DEEPEST):
        raise ValueError("nested too deeply")
    return value


def _deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(part, levels - 1) for part in parts)
