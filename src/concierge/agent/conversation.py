"""The conversation of a run, made from its events: what was sent can be replayed from the journal alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concierge import jsontext
from concierge.agent.events import Event, Replied, Started, ToolReturned, ToolsRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from concierge.agent.task import Task
    from concierge.chat.port import Message, ToolCall


@cache
def system_prompt() -> str:
    """Return the text that tells a model how to use its tools."""
    return (Path(__file__).parent / "prompts" / "tools.txt").read_text(encoding="utf-8").strip()


def opening(task: Task, tools: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return the first messages of a run.

    A model without tools gets the task alone: its chat template has its own system text, and a tiny
    model answers best with that.
    """
    user = {"role": "user", "content": utf8(task.text)}
    return ({"role": "system", "content": system_prompt()}, user) if tools else (user,)


def utf8(text: str) -> str:
    """Return the text without what no request can carry: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def as_written(call: ToolCall) -> dict[str, str]:
    """Return a call as an event holds it."""
    return {"id": call.id, "name": utf8(call.name), "arguments": utf8(call.arguments)}


def messages(event: Event) -> tuple[Message, ...]:
    """Return what the event adds to the conversation."""
    match event:
        case Started():
            return event.messages
        case Replied():
            return (_assistant(event),)
        case ToolReturned():
            return ({"role": "tool", "tool_call_id": event.call_id, "content": event.text},)
        case _:
            return ()


def follow(said: list[Message], event: Event) -> None:
    """Take up what an event means for the conversation: what teaches tools goes where they are refused."""
    if isinstance(event, ToolsRefused):
        said[:] = [message for message in said if message["role"] != "system"]
    said.extend(messages(event))


def conversation(events: Iterable[Event]) -> list[Message]:
    """Return the messages of a run so far, oldest first."""
    said: list[Message] = []
    for event in events:
        follow(said, event)
    return said


def _assistant(event: Replied) -> Message:
    if not event.tool_calls:
        return {"role": "assistant", "content": event.text}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            # Servers parse the arguments of past calls; what the model got wrong stays in the journal.
            "function": {
                "name": call["name"],
                "arguments": call["arguments"] if jsontext.parse_object(call["arguments"]) is not None else "{}",
            },
        }
        for call in event.tool_calls
    ]
    return {"role": "assistant", "content": event.text, "tool_calls": calls}
