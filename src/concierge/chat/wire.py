"""A request's body, as plain data: no I/O, no state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from concierge.chat.port import ChatOptions, Message, given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def request_body(
    messages: Sequence[Message], model: str, options: ChatOptions, *, limit_name: str
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


def mend(text: str) -> str:
    """Join surrogate pairs that a server cut in two; a half without its other half becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _plain(value: object) -> object:
    """Serialise the mappings and sequences that the port admits beside dict and list."""
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {key: value[key] for key in value.keys()}  # noqa: SIM118  # only ``keys`` is certain
    if hasattr(value, "__iter__"):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
