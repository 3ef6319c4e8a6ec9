"""Where a passage stands in a text, as a model remembers it: exactly, or but for white space, and only once."""

from __future__ import annotations

import difflib
import re

from concierge.errors import ToolError


def find(text: str, passage: str, *, path: str) -> tuple[int, int]:
    """Return where ``passage`` begins and ends.

    Raises:
        ToolError: It is not there, or more than once; the text says what to send instead.
    """
    exact = [match.span() for match in re.finditer(re.escape(passage), text)]
    found = exact or _but_for_space(text, passage)
    if len(found) > 1:
        raise ToolError(f"`old` stands {len(found)} times in {path}. Send more of the lines around it.")
    if not found:
        near = difflib.get_close_matches(passage.strip().split("\n")[0], text.split("\n"), n=1, cutoff=0.4)
        like = f" The nearest line is {near[0].strip()!r}." if near else " `read` shows the file."
        raise ToolError(f"`old` does not stand in {path}.{like} Send it as it stands there.")
    return found[0]


def fitted(stood: str, old: str, new: str) -> str:
    """Return ``new`` with the indentation that the file has and the model left out."""
    missing = _indent(stood)[len(_indent(old)) :] if _indent(stood).endswith(_indent(old)) else ""
    if not missing or stood == old:
        return new
    lines = new.split("\n")
    return "\n".join(f"{missing}{line}" if line.strip() else line for line in lines)


def _but_for_space(text: str, passage: str) -> list[tuple[int, int]]:
    """Return the passages that differ in white space at most: whole lines where it has several."""
    words = passage.split()
    if not words:
        return []
    pattern = r"[ \t]*" + r"\s+".join(map(re.escape, words))
    return [match.span() for match in re.finditer(pattern, text)]


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip(" \t"))]
