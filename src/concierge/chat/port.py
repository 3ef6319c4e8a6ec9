"""The one thing that the agent knows of an LLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

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


class ChatClient(Protocol):
    """A model that answers messages."""

    async def chat(
        self,
        messages: Sequence[Message],
        model: str,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        response_format: Mapping[str, Any] | None = None,
        on_delta: Callable[[Delta], None] | None = None,
    ) -> Reply:
        """Answer ``messages``; the reply is a ``str``.

        Args:
            messages: The conversation so far, oldest first.
            model: The name that the server expects.
            tools: Function tools in the chat-completions format.
            tool_choice: ``auto``, ``none``, ``required`` or a named function.
            temperature: Sampling temperature; the server's default when None.
            top_p: Nucleus sampling; the server's default when None.
            max_tokens: The most tokens to generate.
            response_format: ``json_object`` or ``json_schema``, in the chat-completions format.
            on_delta: Called with each piece as it arrives; the request streams when it is given.

        Raises:
            TransportError: No answer arrived.
            StatusError: The server answered with an error.
            ReplyError: The answer is not a chat completion.
        """
        ...
