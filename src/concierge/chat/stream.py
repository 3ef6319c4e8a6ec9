"""A reply, built up from the events of a stream or from its one piece. ``add`` runs once for each token."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from concierge import jsontext
from concierge.chat.failure import StreamFailure, one_line, parse_document
from concierge.chat.port import Delta, Reply, Usage
from concierge.chat.request import mend
from concierge.chat.thinking import ThinkSplitter, reasoning_of, text_of
from concierge.chat.toolcalls import CallJoiner, numbered
from concierge.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReplyStream:
    """Takes the payloads of a stream's events and gives the reply at its end.

    Attributes:
        done: True after ``[DONE]``: nothing that matters follows.
    """

    def __init__(self) -> None:
        self.done = False
        self._empty = True
        self._finish_reason: object = None
        self._usage: object = None
        self._model: object = None
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._thinking = ThinkSplitter()
        self._calls = CallJoiner()
        self._half = ""

    @property
    def finished(self) -> bool:
        """True once the server has said why it stopped."""
        return self._finish_reason is not None

    def add(self, payload: bytes) -> Delta | None:
        """Take one event; return what of it the caller may show."""
        text = payload.decode("utf-8", "replace")
        try:
            document, end = jsontext.first(text)
        except ValueError:
            return self._odd(text)
        if end != len(text) or type(document) is not dict:
            return self._odd(text)
        return self._take(document)

    def end(self, tail: Sequence[bytes] = ()) -> list[Delta]:
        """Take what the end of the stream left over; return what of it, and of what was held back, may be shown.

        A last event that is not whole is no fault of its own: ``reply`` says whether the stream was cut off.
        """
        deltas: list[Delta | None] = []
        with contextlib.suppress(ReplyError):
            deltas += map(self.add, tail)
        return [delta for delta in (*deltas, self._flush()) if delta is not None]

    def _flush(self) -> Delta | None:
        content, thought = self._thinking.flush()
        if self._half:
            content, self._half = content + "\ufffd", ""
        if content:
            self._content.append(content)
        if thought:
            self._reasoning.append(thought)
        return Delta(content, thought) if content or thought else None

    def reply(self) -> Reply:
        """Return the whole reply.

        Raises:
            ReplyError: The stream ended before the server said why it stopped.
        """
        if self._finish_reason is None:
            what = "before it began" if self._empty else "in the middle of the answer"
            raise ReplyError(f"The server ended the stream {what}: no finish_reason came.")
        return self.so_far()

    def so_far(self) -> Reply:
        """Return the reply that the port promises from what the server sent, whatever its types."""
        return Reply(
            "".join(self._content),
            tool_calls=self._calls.calls(),
            finish_reason=self._finish_reason if isinstance(self._finish_reason, str) else None,
            usage=_usage(self._usage),
            reasoning=mend("".join(self._reasoning)).strip(),
            model=self._model if isinstance(self._model, str) else None,
        )

    def note(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Take what an event says of the whole answer, and return its choice where it has one.

        Raises:
            StreamFailure: It says that the server failed.
        """
        # Older vLLM sends its errors without an envelope.
        if document.get("error") or document.get("object") == "error":
            raise StreamFailure(parse_document(document))
        if usage := document.get("usage"):
            self._usage = usage
        if not self._model:
            self._model = document.get("model")
        choices = document.get("choices")
        if not choices or not isinstance(choices, list) or type(choices[0]) is not dict:
            return None
        self._empty = False
        choice: dict[str, Any] = choices[0]
        if finish_reason := choice.get("finish_reason"):
            self._finish_reason = finish_reason
        return choice

    def take(self, message: dict[str, Any]) -> Delta | None:
        """Take a message or a part of one; return what of it the caller may show."""
        if calls := message.get("tool_calls"):
            for call in calls if isinstance(calls, list) else [calls]:
                self._calls.add(call)
        content = message.get("content") or ""
        if type(content) is not str:
            content = text_of(content)
        reasoning = reasoning_of(message) if "reasoning_content" in message or "reasoning" in message else ""
        if content:
            if not content.isascii() or self._half:
                content = self._whole_characters(content)
            if not self._thinking.done:
                content, thought = self._thinking.feed(content)
                reasoning += thought
        if content:
            self._content.append(content)
        elif not reasoning:
            return None
        if reasoning:
            self._reasoning.append(reasoning)
        return Delta(content, reasoning)

    def _take(self, document: dict[str, Any]) -> Delta | None:
        choice = self.note(document)
        delta = choice.get("delta") if choice else None
        return self.take(delta) if delta and type(delta) is dict else None

    def _whole_characters(self, piece: str) -> str:
        """Hold back the first half of a surrogate pair until its other half comes: half of one cannot be shown."""
        piece, self._half = self._half + piece, ""
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _odd(self, text: str) -> Delta | None:
        """Take an event that is not one JSON object: the end mark, a ping, several objects, or rubbish."""
        text = text.strip()
        if text == "[DONE]":
            self.done = True
            return None
        if text[:1] not in ("{", "["):
            return None
        # Some servers forget the blank line between events.
        pieces = [self._take(document) for document in _objects(text)]
        self.done = self.done or text.endswith("\n[DONE]")
        shown = [piece for piece in pieces if piece is not None]
        if not shown:
            return None
        return Delta("".join(piece.content for piece in shown), "".join(piece.reasoning for piece in shown))


def parse_reply(body: bytes) -> Reply:
    """Read a reply that came in one piece.

    Raises:
        ReplyError: It is not a chat completion.
        StreamFailure: It is an error under a status that promised none.
    """
    if not body.strip():
        raise ReplyError("The server answered with an empty body.")
    try:
        document = jsontext.parse(body)
    except ValueError:
        raise ReplyError(f"The server's answer is not JSON: {_excerpt(body)}") from None
    if not isinstance(document, dict):
        raise ReplyError(f"The server's answer is not a chat completion: {_excerpt(body)}")
    stream = ReplyStream()
    choice = stream.note(document)
    message = choice.get("message") if choice else None
    if not isinstance(message, dict):
        raise ReplyError(f"The server's answer holds no choice with a message: {_excerpt(body)}")
    stream.take({**message, "tool_calls": numbered(message.get("tool_calls"))})
    stream.end()
    return stream.so_far()


def _objects(text: str) -> list[dict[str, Any]]:
    items = (item for value in _values(text) for item in (value if isinstance(value, list) else [value]))
    return [item for item in items if isinstance(item, dict)]


def _values(text: str) -> list[Any]:
    try:
        return [jsontext.parse(text)]
    except ValueError:
        lines = [line for line in text.split("\n") if line.strip() not in ("", "[DONE]")]
    try:
        return [jsontext.parse(line) for line in lines]
    except ValueError:
        raise ReplyError(f"The server sent a chunk that is not JSON: {_excerpt(text.encode())}") from None


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not any(isinstance(count, int) for count in counts):
        return None
    prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
    return Usage(prompt, completion)


def _excerpt(body: bytes) -> str:
    return one_line(body[:500].decode(errors="replace"), longest=120)
