"""Tool calls of the chat-completions API, and those that a server left in the text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge import jsontext
from concierge.agent.protocols import in_text
from concierge.agent.protocols.port import Name, Reading, names
from concierge.agent.protocols.prompts import prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.agent.events import Replied, ToolReturned
    from concierge.agent.protocols.port import Spec
    from concierge.chat.port import ChatOptions, Message, Reply


class Native:
    """The server tells calls and text apart."""

    name: Name = "native"
    how = "with a tool"

    def taught(self, tools: Sequence[Spec]) -> tuple[Message, ...]:
        """Return the system text."""
        return prompt("tools")

    def options(self, tools: Sequence[Spec]) -> ChatOptions:
        """Return the tools, as the API takes them."""
        return {"tools": tools}

    def read(self, reply: Reply, tools: Sequence[Spec], *, last: str) -> Reading:
        """Return the calls that the server told, else those in the text."""
        if reply.tool_calls:
            return Reading(str(reply), reply.tool_calls)
        known = names(tools)
        calls, text = in_text.find(reply, known)
        if calls:
            return Reading(text, calls, in_text=True)
        if in_text.looks_like_one(reply, known):
            return Reading(
                str(reply), malformed=f"That is no complete call of a tool. Call one of: {', '.join(known)}."
            )
        return Reading(str(reply))

    def plain(self, reply: Reply, tools: Sequence[Spec]) -> str:
        """Return the text without calls."""
        return in_text.spoken(reply, names(tools))

    def said(self, event: Replied) -> Message:
        """Return the reply with its calls, as the API takes them back."""
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

    def result(self, event: ToolReturned) -> Message:
        """Return the result as a tool's message."""
        return {"role": "tool", "tool_call_id": event.call_id, "content": event.text}
