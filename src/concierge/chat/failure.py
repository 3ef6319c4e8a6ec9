"""What servers say when they refuse, in the many forms in which they say it, and when to ask again.

Pure: the clock and the dice are passed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from concierge import jsontext

if TYPE_CHECKING:
    from collections.abc import Callable

# Long enough for a sentence with a reason, short enough for a terminal.
LONGEST_MESSAGE: Final = 500
# 501 and 505 say that asking again is pointless; everything else above 500 may pass.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504, 520, 522, 524, 529})
# What chat templates raise, as llama-server and those that render them likewise hand it on.
_ROLES: Final = re.compile(r"(?i)raise_exception|jinja|roles? must alternate|roles? (?:is|are) (?:not )?supported")
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
    def about_roles(self) -> bool:
        """True when the model's chat template refuses who speaks, or in which order: it always will."""
        return bool(_ROLES.search(self.message))

    @property
    def final(self) -> bool:
        """True when asking again cannot help although the status says that it may."""
        return "insufficient_quota" in self.words or self.about_roles


class StreamFailure(Exception):  # noqa: N818  # it never leaves this room; the client turns it into a StatusError
    """An error object came where an answer was promised (HTTP 200, or inside a stream)."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a client insists. Only requests whose answer has not begun are ever sent again.

    Attributes:
        attempts: Requests in all, the first one included.
        seconds: Time after the first request beyond which none is sent again.
        loading_seconds: The same, while a server says that it still loads its model; these do not count as attempts.
        first_pause_s: Pause before the second request; each later one is twice as long.
        longest_pause_s: The longest pause of our own choosing; a server's ``Retry-After`` may ask for more.
    """

    attempts: int = 4
    seconds: float = 60.0
    loading_seconds: float = 300.0
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0


class Backoff:
    """Counts one call's attempts and says how long to pause before the next, or that there is none."""

    def __init__(self, policy: RetryPolicy, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random
        self._began = clock()
        self._asked = 0

    def pause(self, *, retry_after: float | None = None, loading: bool = False) -> float | None:
        """Return the seconds to wait before asking again, or None when the budget is spent."""
        policy = self._policy
        if loading:
            pause, budget = self._jittered(policy.first_pause_s * 4), policy.loading_seconds
        else:
            self._asked += 1
            if self._asked >= policy.attempts:
                return None
            pause, budget = self._jittered(policy.first_pause_s * 2 ** (self._asked - 1)), policy.seconds
        pause = max(pause, retry_after or 0.0)
        return pause if self._clock() - self._began + pause <= budget else None

    def _jittered(self, pause: float) -> float:
        """Return between half and all of the pause: many clients must not come back in step."""
        return min(pause, self._policy.longest_pause_s) * (0.5 + 0.5 * self._random())


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


def may_pass(status: int) -> bool:
    """Tell whether a request that got this status may succeed later."""
    return status in _PASSING


def one_line(text: str, *, longest: int = LONGEST_MESSAGE) -> str:
    """Return the text on one line, without control characters, cut to a readable length."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return line if len(line) <= longest else line[: longest - 1] + "…"


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
