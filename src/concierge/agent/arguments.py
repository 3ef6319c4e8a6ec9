"""Reading the arguments of a tool call in every form that models write them."""

from __future__ import annotations

from typing import Any

from concierge import jsontext
from concierge.errors import ToolError

TRAILING_NOISE = " \t\r\n\"'`"
"""What models leave behind a complete object."""

EXCERPT = 80


class BadCallError(ToolError):
    """The call itself is malformed; three in a row stop the run."""


def parse(raw: object, *, first: str | None, example: str) -> dict[str, Any]:
    """Return the arguments by name.

    Takes an object, an object inside a string or a list of one, nothing at all, an object with stray
    quotes behind it, and a bare value, which is meant for the argument ``first``.

    Raises:
        BadCallError: It is none of these; the text says what to send instead.
    """
    value = raw
    # A string in a string is as deep as servers and models nest them.
    for _ in range(2):
        if isinstance(value, str) and (value is raw or value.lstrip().startswith("{")):
            value = _decode(value, example)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if value is None:
        return {}
    if isinstance(value, dict):
        # A null argument is one that was not given.
        return {str(name): part for name, part in value.items() if part is not None}
    if first is not None and isinstance(value, str | int | float):
        return {first: value}
    raise BadCallError(f"The arguments are a {type(value).__name__}. Send one JSON object such as {example}.")


def _decode(text: str, example: str) -> object:
    stripped = text.strip()
    if not stripped:
        return None
    try:
        value, end = jsontext.first(stripped, lenient=True)
    except ValueError:
        raise BadCallError(
            f"The arguments are not complete JSON: {_excerpt(stripped)}. Send one JSON object such as {example}."
        ) from None
    rest = stripped[end:].strip(TRAILING_NOISE)
    if rest:
        raise BadCallError(
            f"There is more than one value in the arguments: {_excerpt(rest)} follows the first. "
            f"Send one JSON object per call, such as {example}."
        )
    return value


def _excerpt(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 3] + "..."
