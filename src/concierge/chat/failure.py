"""What servers say when they refuse, in the many forms in which they say it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from concierge import jsontext

if TYPE_CHECKING:
    from collections.abc import Mapping

# Long enough for a sentence with a reason, short enough for a terminal.
LONGEST_MESSAGE: Final = 500
_MESSAGE_KEYS: Final = ("message", "msg", "detail", "error", "error_description", "title")


@dataclass(frozen=True, slots=True)
class Failure:
    """A server's own account of an error.

    Attributes:
        message: One line without control characters; may be empty.
        words: ``type``, ``code`` and ``param`` where the server gave them, for deciding what to do.
    """

    message: str
    words: tuple[str, ...] = ()

    @property
    def loading(self) -> bool:
        """True when a llama-server still loads its model: that is a wait, not an error."""
        return "loading model" in self.message.lower()

    @property
    def too_long(self) -> bool:
        """True when the messages do not fit the context."""
        return bool({"exceed_context_size_error", "context_length_exceeded"} & {*self.words})

    @property
    def final(self) -> bool:
        """True when asking again cannot help although the status says that it may."""
        return "insufficient_quota" in self.words


class StreamFailure(Exception):  # noqa: N818  # it never leaves this room; the client turns it into a StatusError
    """An error object came where an answer was promised (HTTP 200, or inside a stream)."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def parse_failure(body: bytes, content_type: str = "") -> Failure:
    """Read the body of an error response: JSON of any known shape, HTML, text or nothing."""
    try:
        return parse_document(jsontext.parse(body))
    except ValueError:
        text = body.decode(errors="replace")
    if "html" in content_type or text.lstrip()[:1] == "<":
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    return Failure(one_line(text))


def parse_document(document: Any) -> Failure:
    """Read an error object that is already JSON."""
    return Failure(one_line(_message(document)), tuple(_words(document)))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a server asked us to wait, if it did; it may name a date, and ``now`` is one as well."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _until(value, now)
        # Not a number is no answer; NaN compares false with everything.
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def one_line(text: str, *, longest: int = LONGEST_MESSAGE) -> str:
    """Return the text on one line, without control characters, cut to a readable length."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _until(date: str, now: float) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return float("nan")


def _message(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_message, value)))
    if not isinstance(value, dict):
        return ""
    # An envelope holds the error under "error"; inside the error, "message" is the sentence.
    keys = ("error", *_MESSAGE_KEYS) if isinstance(value.get("error"), dict) else _MESSAGE_KEYS
    message = next(filter(None, (_message(value.get(key)) for key in keys)), "")
    place = value.get("loc")
    return f"{'.'.join(map(str, place))}: {message}" if isinstance(place, list) and message else message


def _words(value: Any) -> list[str]:
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    if not isinstance(value, dict):
        return []
    own = [str(value[key]) for key in ("type", "code", "param") if value.get(key) is not None]
    return own + _words(value.get("error")) + _words(value.get("detail"))
