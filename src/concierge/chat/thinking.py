"""A model's thinking, kept apart from its answer."""

from __future__ import annotations

from typing import Any, Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


class ThinkSplitter:
    """Parts a leading ``<think>`` block from the text that follows, however the text is cut into pieces.

    Attributes:
        done: True once everything that follows is answer, so that a caller may stop asking.
    """

    def __init__(self) -> None:
        self.done = False
        self._held = ""
        self._inside = False
        self._after = False

    def feed(self, piece: str) -> tuple[str, str]:
        """Take the next piece and return what of it is answer and what is thinking."""
        if self.done:
            return piece, ""
        self._held += piece
        if self._inside:
            return self._inside_block()
        return self._before_answer()

    def flush(self) -> tuple[str, str]:
        """Return what was held back, when no more will come."""
        held, self._held = self._held, ""
        if self._inside:
            return "", held
        return ("", "") if self._after else (held, "")

    def _before_answer(self) -> tuple[str, str]:
        text = self._held.lstrip()
        if not text or (not self._after and OPEN.startswith(text) and text != OPEN):
            return "", ""
        if not self._after and text.startswith(OPEN):
            self._inside, self._held = True, text[len(OPEN) :]
            return self._inside_block()
        answer = text if self._after else self._held
        self._held, self.done = "", True
        return answer, ""

    def _inside_block(self) -> tuple[str, str]:
        thought, close, rest = self._held.partition(CLOSE)
        if close:
            self._inside, self._after, self._held = False, True, rest
            return self._before_answer()[0], thought
        keep = _partial_close(self._held)
        self._held = thought[len(thought) - keep :]
        return "", thought[: len(thought) - keep]


def text_of(value: Any) -> str:
    """Return the text in a field that servers fill with a string, an object, a list of parts or nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text_of(part) for part in value)
    if isinstance(value, dict):
        return next((text_of(value[key]) for key in ("text", "content", "summary") if value.get(key)), "")
    return ""


def reasoning_of(message: dict[str, Any]) -> str:
    """Return a message's thinking, whichever of the two fields carries it."""
    return text_of(message.get("reasoning_content") or message.get("reasoning"))


def _partial_close(text: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of the closing tag."""
    return next((size for size in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:size])), 0)
