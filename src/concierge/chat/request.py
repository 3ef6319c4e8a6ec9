"""What a server is sent and where: how those that speak chat completions differ. No I/O, no state."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import quote

from concierge.chat.port import ChatOptions, Message, given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.endpoint import Endpoint

Spelling = dict[str, str | None]
"""Parameters that one server wants under another name, or (None) not at all."""

LimitName = Literal["max_tokens", "max_completion_tokens"]
"""The parameter that bounds the answer; a server silently ignores the one it does not know."""

# Old enough for every deployment, new enough for tools and structured output.
AZURE_LEGACY_VERSION: Final = "2024-10-21"

OTHER_SPELLING: Final[Mapping[str, str | None]] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
    "stream_options": None,
    "stop": None,
}
# A server also names a parameter to complain of its value ("max_tokens is too large"): that is no reason to
# send the value under a name that the server may ignore.
_UNKNOWN_PARAMETER = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not (?:permitted|allowed)|extra (?:inputs|fields)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where an endpoint's requests go; ``per_model`` when the URL itself names the model (Azure deployments)."""

    base: str
    query: str
    limit_name: LimitName
    per_model: bool = False

    def url(self, model: str) -> str:
        """Return the URL that answers for ``model``."""
        deployment = f"/deployments/{quote(model, safe='')}" if self.per_model else ""
        return f"{self.base}{deployment}/chat/completions" + (f"?{self.query}" if self.query else "")


def route(endpoint: Endpoint) -> Route:
    """Work out where the endpoint's requests go and what its server wants."""
    address, dialect = endpoint.address, endpoint.dialect
    path, query = address.path, address.query
    limit_name: LimitName = "max_completion_tokens" if dialect in ("openai", "azure") else "max_tokens"
    per_model = False
    if dialect == "azure":
        if "/deployments/" in path or ("api-version=" in query and "/openai/v1" not in path):
            limit_name, per_model = "max_tokens", "/deployments/" not in path
            path = path or "/openai"
            query = query or f"api-version={AZURE_LEGACY_VERSION}"
        elif path in ("", "/openai"):
            path = "/openai/v1"
    return Route(str(replace(address, path=path)), query, limit_name, per_model)


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


def other_spelling(refusal: str, sent: Mapping[str, object], known: Spelling) -> Spelling:
    """Return what a refusal names as unknown, with what to send instead; what is ``known`` is not swapped again."""
    if not _UNKNOWN_PARAMETER.search(refusal):
        return {}
    used = {*known, *known.values()}
    return {
        name: other
        for name, other in OTHER_SPELLING.items()
        if name in sent and name not in used and re.search(rf"\b{name}\b", refusal)
    }


def spell(body: Mapping[str, object], spelling: Spelling) -> dict[str, object]:
    """Return the body with its parameters under the names that the server wants."""
    wanted = ((spelling.get(name, name), value) for name, value in body.items())
    return {name: value for name, value in wanted if name is not None}


def folded(body: Mapping[str, object]) -> dict[str, object]:
    """Return the body with user and assistant alone, in turns, for templates that know nobody else.

    What the system says stands before what the user says first, and a tool's result is told by the user.
    """
    turns: list[dict[str, str]] = []
    for message in cast("Sequence[Message]", body["messages"]):
        role = "assistant" if message["role"] == "assistant" else "user"
        text = _spoken(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n\n{text}"
        else:
            turns.append({"role": role, "content": text})
    return {**body, "messages": turns}


def _spoken(message: Message) -> str:
    """Return a message as text: the calls of an assistant are part of what it said."""
    content = message.get("content")
    text = content if isinstance(content, str) else "" if content is None else json.dumps(content, default=_plain)
    calls = "\n".join(json.dumps(call.get("function"), default=_plain) for call in message.get("tool_calls") or ())
    return "\n".join(filter(None, (text, calls)))


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
