"""The one thing that the agent knows of an LLM."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypedDict, Unpack

Message = Mapping[str, Any]
"""One message of the chat-completions API: ``role``, ``content``, and for tools ``tool_calls`` or ``tool_call_id``."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for. ``arguments`` is JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the server counted."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer while it streams."""

    content: str = ""
    reasoning: str = ""


OnDelta = Callable[[Delta], None]


class Reply(str):
    """The answer's text, which also carries what came with it.

    Attributes:
        tool_calls: Calls that the model asks for, in order.
        finish_reason: ``stop``, ``length``, ``tool_calls``, … as the server said it.
        usage: What the server counted, if it did.
        reasoning: The model's thinking, kept apart from the answer.
        model: The name that the server answered with.
    """

    tool_calls: tuple[ToolCall, ...]
    finish_reason: str | None
    usage: Usage | None
    reasoning: str
    model: str | None

    def __new__(
        cls,
        content: str = "",
        *,
        tool_calls: Sequence[ToolCall] = (),
        finish_reason: str | None = "stop",
        usage: Usage | None = None,
        reasoning: str = "",
        model: str | None = None,
    ) -> Self:
        reply = super().__new__(cls, content)
        reply.tool_calls = tuple(tool_calls)
        reply.finish_reason = finish_reason
        reply.usage = usage
        reply.reasoning = reasoning
        reply.model = model
        return reply


class ChatOptions(TypedDict, total=False):
    """What a question may say beside its messages; None is the same as nothing.

    Attributes:
        tools: Function tools in the chat-completions format.
        tool_choice: ``auto``, ``none``, ``required`` or a named function.
        temperature: Sampling temperature.
        top_p: Nucleus sampling.
        max_tokens: The most tokens to generate.
        stop: Texts at which the answer ends; they are no part of it.
        response_format: ``json_object`` or ``json_schema``, in the chat-completions format.
        on_delta: Called with each piece as it arrives; the request streams when it is given.
    """

    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: Sequence[str] | None
    response_format: Mapping[str, Any] | None
    on_delta: OnDelta | None


def given(options: ChatOptions) -> dict[str, Any]:
    """Return the options that say something; one that does not exist is a ``TypeError``."""
    if unknown := sorted(options.keys() - ChatOptions.__optional_keys__):
        raise TypeError(f"chat() has no option {unknown[0]!r}")
    return {name: value for name, value in options.items() if value is not None}


def identified(calls: Iterable[ToolCall], used: set[str]) -> tuple[ToolCall, ...]:
    """Give every call an id that is not used yet, and note it: servers send none, or count from 0 in every answer."""
    own: list[ToolCall] = []
    for call in calls:
        # Nine letters and digits: the templates of one family of models accept nothing else.
        made = (f"call{number:05}" for number in itertools.count(1))
        call_id = next(text for text in itertools.chain([call.id], made) if text and text not in used)
        used.add(call_id)
        own.append(replace(call, id=call_id))
    return tuple(own)


class ChatClient(Protocol):
    """A model that answers messages."""

    async def chat(self, messages: Sequence[Message], model: str, **options: Unpack[ChatOptions]) -> Reply:
        """Answer ``messages``; the reply is a ``str``.

        Args:
            messages: The conversation so far, oldest first.
            model: The name that the server expects.
            options: See ``ChatOptions``; what is not given is left to the server.

        Raises:
            TransportError: No answer arrived.
            StatusError: The server answered with an error.
            ReplyError: The answer is not a chat completion.
        """
        ...
