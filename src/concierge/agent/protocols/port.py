"""How a model is taught to act, and how what it says is read: one small file for each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.agent.events import Replied, ToolReturned
    from concierge.chat.port import ChatOptions, Message, Reply, ToolCall

Name = Literal["native", "shell", "json"]
"""Tool calls of the server; one fenced shell command a turn; one JSON action a turn, forced by a schema."""

Spec = dict[str, Any]
"""A tool in the chat-completions format."""

OWN = frozenset(("read", "write", "edit", "list", "search", "shell"))
"""The tools of every run; what else is offered belongs to other programs."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply means.

    Attributes:
        text: What the model said beside its actions; the answer where there are none.
        calls: What it wants done, in order.
        malformed: What is wrong with an action that cannot be carried out; empty where nothing is.
        in_text: The calls were found in the text, where the server should have told them apart.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    malformed: str = ""
    in_text: bool = False


class StepProtocol(Protocol):
    """One way to act.

    Attributes:
        how: How that is done, as the end of a sentence to the model.
    """

    name: Name
    how: str

    def taught(self, tools: Sequence[Spec]) -> tuple[Message, ...]:
        """Return the messages that teach it: the system text, and examples as turns."""
        ...

    def options(self, tools: Sequence[Spec]) -> ChatOptions:
        """Return what each request says beside its messages."""
        ...

    def read(self, reply: Reply, tools: Sequence[Spec], *, last: str) -> Reading:
        """Return what a reply means; ``last`` is the result that it answers to."""
        ...

    def plain(self, reply: Reply, tools: Sequence[Spec]) -> str:
        """Return what a reply says beside all that it tries to do, for it is the last one; empty where that is all."""
        ...

    def said(self, event: Replied) -> Message:
        """Return the assistant's message for a reply, as the model is to see it again."""
        ...

    def result(self, event: ToolReturned) -> Message:
        """Return the message that brings a result to the model."""
        ...


def line(tool: Mapping[str, Any]) -> str:
    """Return a tool on one line, as a system text tells of it."""
    function = tool["function"]
    arguments = ", ".join(f'"{name}": …' for name in function["parameters"]["properties"])
    return f"- {function['name']} {{{arguments}}}: {function['description'].splitlines()[0]}"


def names(tools: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of tools in the chat-completions format."""
    return tuple(tool["function"]["name"] for tool in tools)
