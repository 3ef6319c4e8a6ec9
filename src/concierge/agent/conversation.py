"""The conversation of a run, made from its events: what was sent can be replayed from the journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent.events import Event, Misread, Replied, Started, ToolReturned, ToolsRefused
from concierge.agent.protocols.choose import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from concierge.agent.protocols.port import Spec, StepProtocol
    from concierge.agent.task import Task
    from concierge.chat.port import Message, ToolCall


def opening(task: Task, tools: Sequence[Spec], protocol: StepProtocol, *, overview: str) -> tuple[Message, ...]:
    """Return the first messages of a run; with tools, the user's also says what is in the folder.

    A model without tools gets the task alone: its chat template has its own system text, and a tiny
    model answers best with that.
    """
    text = f"{task.text}\n\n{overview}" if tools and overview else task.text
    user = {"role": "user", "content": utf8(text)}
    return ({"role": "system", "content": protocol.system(tools)}, user) if tools else (user,)


def utf8(text: str) -> str:
    """Return the text without what no request can carry: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def as_written(call: ToolCall) -> dict[str, str]:
    """Return a call as an event holds it."""
    return {"id": call.id, "name": utf8(call.name), "arguments": utf8(call.arguments)}


class Conversation:
    """The messages so far, which each event adds to in the way of the run's protocol."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.messages: list[Message] = []
        self._protocol = named("native")
        for event in events:
            self.follow(event)

    def follow(self, event: Event) -> None:
        """Take up what an event means for the conversation."""
        match event:
            case Started():
                self._protocol = named(event.protocol)
                self.messages.extend(event.messages)
            case ToolsRefused():
                self._protocol = named(event.protocol)
                taught = [{"role": "system", "content": event.system}] if event.system else []
                self.messages[:] = [*taught, *(each for each in self.messages if each["role"] != "system")]
            case Replied():
                self.messages.append(self._protocol.said(event))
            case ToolReturned():
                self.messages.append(self._protocol.result(event))
            case Misread():
                self.messages.append({"role": "user", "content": event.text})
            case _:
                pass


def conversation(events: Iterable[Event]) -> list[Message]:
    """Return the messages of a run so far, oldest first."""
    return Conversation(events).messages
