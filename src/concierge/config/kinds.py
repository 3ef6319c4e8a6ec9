"""What a configuration key may hold. Plain code, since every command reads the configuration before it does anything.

A validation library costs four times what the whole of ``concierge status`` may (docs/performance.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concierge import endpoint

if TYPE_CHECKING:
    from collections.abc import Callable


class Secret:
    """A text that does not show itself."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text  # its own class

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type as people name it, and the check that turns a file's value into the one that code reads.

    Attributes:
        name: Its name in the reference page.
        read: Returns the value, or raises ``ValueError`` with the rest of a sentence that starts with the key.
        is_text: Whether an environment variable's text is the value itself rather than JSON.
        hidden: Whether it is never shown.
    """

    name: str
    read: Callable[[Any], Any]
    is_text: bool = False
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """What one key means."""

    kind: Kind
    default: Any
    description: str


def key(kind: Kind, default: Any, description: str) -> Any:
    """Return the dataclass field of a key."""
    return field(default=default, metadata={"key": Key(kind, default, description)})


def choice(*words: str) -> Kind:
    """One of ``words``."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return str(value)

    return Kind(" | ".join(f"`{word}`" for word in words), read, is_text=True)


def whole(*, least: int, most: int | None = None) -> Kind:
    """A whole number within bounds."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("is not a whole number")  # noqa: TRY004  # one kind of error for every wrong value
        _bounded(value, least, most)
        return value

    return Kind("whole number", read)


def auto_or(kind: Kind) -> Kind:
    """``auto``, which leaves it to concierge, or what ``kind`` holds."""

    def read(value: Any) -> Any:
        if value == "auto":
            return value
        if isinstance(value, str):
            raise ValueError(f"is not `auto` or a {kind.name}")  # noqa: TRY004  # as everywhere here
        return kind.read(value)

    return Kind(f"`auto` or {kind.name}", read)


def number(*, above: float | None = None, least: float = -math.inf, most: float | None = None) -> Kind:
    """A number within bounds."""

    def read(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError("is not a number")
        if above is not None and value <= above:
            raise ValueError(f"is not above {above:g}")
        _bounded(value, least, most)
        return float(value)

    return Kind("number", read)


def secret(clean: Callable[[str], str] = str) -> Kind:
    """A text that is never shown; ``clean`` makes it what is kept."""

    def read(value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret(clean(_text(value)))

    return Kind("secret text", read, is_text=True, hidden=True)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")  # noqa: TRY004  # one kind of error for every wrong value
    if not value.strip():
        raise ValueError("is empty")
    return value


def _bounded(value: float, least: float, most: float | None) -> None:
    if value < least:
        raise ValueError(f"is less than {least:g}")
    if most is not None and value > most:
        raise ValueError(f"is more than {most:g}")


def _url(value: Any) -> str:
    text = _text(value).strip()
    endpoint.read(text)
    return text.rstrip("/")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")  # noqa: TRY004  # one kind of error for every wrong value
    return value


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(word, str) for word in value):
        raise ValueError('is not a list of words, such as ["ollama", "serve"]')
    return tuple(value)


def _named_secrets(value: Any) -> tuple[tuple[str, Secret], ...]:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("is not a table of texts")
    return tuple((name, Secret(text)) for name, text in value.items())


def _folder(value: Any) -> Path:
    if isinstance(value, Path):
        return value
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError:
        raise ValueError("starts at a home that nobody has here") from None


TEXT = Kind("text", _text, is_text=True)
URL = Kind("address", _url, is_text=True)
FLAG = Kind("true or false", _flag)
WORDS = Kind("list of words", _words)
NAMED_SECRETS = Kind("table of secret texts", _named_secrets, hidden=True)
FOLDER = Kind("path", _folder, is_text=True)
