"""The request's body and the reply's, as plain data: no I/O, no state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from concierge import jsontext
from concierge.chat.failure import StreamFailure, parse_document
from concierge.chat.port import ChatOptions, Message, Reply, ToolCall, Usage, given
from concierge.chat.thinking import ThinkSplitter, reasoning_of, text_of
from concierge.chat.toolcalls import whole_calls
from concierge.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def request_body(
    messages: Sequence[Message],
    model: str,
    options: ChatOptions,
    *,
    limit_name: str,
) -> dict[str, object]:
    """Return the body of a request; an option that is None is left to the server."""
    said = given(options)
    stream = said.pop("on_delta", None) is not None
    body: dict[str, object] = {"model": model, "messages": messages, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    # Some servers answer an empty list of tools with 400.
    idle = () if said.get("tools") else ("tools", "tool_choice")
    for name, value in said.items():
        if name not in idle:
            body[limit_name if name == "max_tokens" else name] = value
    return body


def encode(body: Mapping[str, object]) -> bytes:
    """Return the body as JSON in UTF-8; half a surrogate pair, which no server accepts, becomes U+FFFD."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=_plain)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return mend(text).encode()


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
        raise ReplyError(f"The server's answer is not JSON: {excerpt(body)}") from None
    if not isinstance(document, dict):
        raise ReplyError(f"The server's answer is not a chat completion: {excerpt(body)}")
    if document.get("error") or document.get("object") == "error":
        raise StreamFailure(parse_document(document))
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ReplyError(f"The server's answer holds no choice with a message: {excerpt(body)}")
    content, thought = split_thinking(text_of(message.get("content")))
    return build_reply(
        content,
        reasoning=reasoning_of(message) + thought,
        tool_calls=whole_calls(message.get("tool_calls")),
        finish_reason=choice.get("finish_reason"),
        usage=document.get("usage"),
        model=document.get("model"),
    )


def build_reply(
    content: str,
    *,
    reasoning: str,
    tool_calls: tuple[ToolCall, ...],
    finish_reason: object,
    usage: object,
    model: object,
) -> Reply:
    """Return the reply that the port promises from the fields that a server sent, whatever their types."""
    return Reply(
        mend(content),
        tool_calls=tool_calls,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        usage=parse_usage(usage),
        reasoning=mend(reasoning).strip(),
        model=model if isinstance(model, str) else None,
    )


def parse_usage(value: object) -> Usage | None:
    """Return what the server counted, or None when it is not a count."""
    if not isinstance(value, dict):
        return None
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not any(isinstance(count, int) for count in counts):
        return None
    prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
    return Usage(prompt, completion)


def split_thinking(content: str) -> tuple[str, str]:
    """Return a whole answer without its leading ``<think>`` block, and the block."""
    splitter = ThinkSplitter()
    answer, thought = splitter.feed(content)
    rest, held = splitter.flush()
    return answer + rest, thought + held


def mend(text: str) -> str:
    """Join surrogate pairs that a server cut in two; a half without its other half becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def excerpt(body: bytes, length: int = 120) -> str:
    """Return the beginning of a body on one line, for an error."""
    text = " ".join(body[: 4 * length].decode(errors="replace").split())
    shown = "".join(character for character in text if character.isprintable())
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _plain(value: object) -> object:
    """Serialise the mappings and sequences that the port admits beside dict and list."""
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118  # only ``keys`` is certain
    if hasattr(value, "__iter__"):
        return list(value)
    msg = f"{type(value).__name__} cannot be sent as JSON"
    raise TypeError(msg)
