"""The conversation of a run, made from its events: what was sent can be replayed from the journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent.events import (
    CutOff,
    Event,
    Folded,
    Misread,
    Replied,
    Started,
    ToolCalled,
    ToolReturned,
    ToolsRefused,
)
from concierge.agent.folding import Fixed, folded, folding, merged
from concierge.agent.protocols.choose import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from concierge.agent.protocols.port import Spec, StepProtocol
    from concierge.chat.port import Message, ToolCall


UNKNOWN = "It was interrupted. Whether it was done is not known: look before you do it again."
UNDONE = "It was not carried out."


def opening(task: str, overview: str, past: Sequence[Message]) -> tuple[Message, ...]:
    """Return the first messages of a run behind those that teach: what was said before, and the user's.

    The user's also says what is in the folder. A model without tools gets the task alone: its chat template
    has its own system text, and a tiny model answers best with that.
    """
    text = f"{task}\n\n{overview}" if overview else task
    return tuple(merged([*past, {"role": "user", "content": utf8(text)}]))


def replayed(past: Sequence[Event], protocol: StepProtocol) -> list[Message]:
    """Return what was said in a run that is over, or was cut off in the middle of a call, as a protocol writes it."""
    said = Conversation(past, protocol)
    returned = {event.call_id for event in past if isinstance(event, ToolReturned)}
    called = {event.call_id for event in past if isinstance(event, ToolCalled)}
    for reply in (event for event in past if isinstance(event, Replied)):
        for call in reply.tool_calls:
            if call["id"] not in returned:
                text = UNKNOWN if call["id"] in called else UNDONE
                said.follow(_stopped(reply.step, call, text))
    return said.messages[said.taught :]


def _stopped(step: int, call: Mapping[str, str], text: str) -> ToolReturned:
    return ToolReturned(step=step, call_id=call["id"], tool=call["name"], status="error", text=text, seconds=0)


def utf8(text: str) -> str:
    """Return the text without what no request can carry: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def as_written(call: ToolCall) -> dict[str, str]:
    """Return a call as an event holds it."""
    return {"id": call.id, "name": utf8(call.name), "arguments": utf8(call.arguments)}


class Conversation:
    """The messages so far, which each event adds to in the way of the run's protocol, or of one that is given.

    Attributes:
        messages: Oldest first.
        taught: How many of them teach the model to act: the system text, and examples as turns.
    """

    def __init__(self, events: Iterable[Event] = (), protocol: StepProtocol | None = None) -> None:
        self.messages: list[Message] = []
        self.taught = 0
        self._given = protocol
        self._protocol = protocol or named("native")
        self._task = 0
        for event in events:
            self.follow(event)

    def folding(self, step: int, context: int | None, tools: Sequence[Spec]) -> Folded | None:
        """Return what makes the messages fit into a context of so many tokens, where they do not."""
        return folding(self.messages, self._fixed, step, context, tools)

    @property
    def _fixed(self) -> Fixed:
        return Fixed(self.taught, self._task)

    def follow(self, event: Event) -> None:
        """Take up what an event means for the conversation."""
        match event:
            case Started():
                self._protocol = self._given or named(event.protocol)
                self.messages.extend(event.messages)
                self.taught, self._task = event.taught, len(self.messages) - 1
            case ToolsRefused():
                self._protocol = self._given or named(event.protocol)
                self.messages[:] = [*event.messages, *self.messages[self.taught :]]
                self.taught, self._task = len(event.messages), len(self.messages) - 1
            case Folded():
                self.messages[:], self._task = folded(self.messages, self._fixed, event)
            case Replied():
                self.messages.append(self._protocol.said(event))
            case CutOff():
                self.messages.append({"role": "assistant", "content": event.text})
            case ToolReturned():
                self.messages.append(self._protocol.result(event))
            case Misread():
                self._tell(event.text, instead=event.taken_back)
            case _:
                pass

    def _tell(self, text: str, *, instead: bool) -> None:
        if instead:
            self.messages.pop()
        if instead and self.messages[-1]["role"] == "user":
            text = f"{self.messages.pop()['content']}\n\n{text}"
        self.messages.append({"role": "user", "content": text})


def conversation(events: Iterable[Event]) -> list[Message]:
    """Return the messages of a run so far, oldest first."""
    return Conversation(events).messages
