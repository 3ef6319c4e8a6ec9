"""One JSON action a turn, forced by a schema: a thought first, then what to do. For servers that enforce schemas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from concierge import jsontext
from concierge.agent.protocols import in_text
from concierge.agent.protocols.port import Name, Reading, line, names
from concierge.agent.protocols.prompts import prompt
from concierge.chat.port import ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.agent.events import Replied, ToolReturned
    from concierge.agent.protocols.port import Spec
    from concierge.chat.port import ChatOptions, Message, Reply

ANSWER = "answer"
"""The action that ends a run."""
_SHAPE = ("type", "enum", "items", "properties")
"""What a schema needs of an argument; what is told of it stands in the system text."""


class ForcedJson:
    """A model that is held to a schema."""

    name: Name = "json"
    how = "with an action"

    def taught(self, tools: Sequence[Spec]) -> tuple[Message, ...]:
        """Return the system text with the tools, one a line, and an example as turns."""
        system, *examples = prompt("json")
        lines = [system["content"], "", "Actions:", *map(line, tools)]
        ending = f'- {ANSWER} {{"text": "…"}}: end with this answer'
        return ({"role": "system", "content": "\n".join([*lines, ending])}, *examples)

    def options(self, tools: Sequence[Spec]) -> ChatOptions:
        """Return the schema of an action."""
        schema = {"name": "action", "strict": True, "schema": _schema(tools)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def read(self, reply: Reply, tools: Sequence[Spec], *, last: str) -> Reading:
        """Return the action, or the answer."""
        try:
            action, _ = jsontext.first(reply.strip(), lenient=True)
        except ValueError:
            action = None
        if not isinstance(action, dict) or not isinstance(action.get("action"), str):
            return Reading(
                str(reply), malformed='Send one JSON object such as {"thought": "…", "action": "list", "path": "."}.'
            )
        if action["action"] == ANSWER:
            text = _words(action.get("text"))
            acts = in_text.find(text, names(tools))[0]
            return Reading(text, malformed="That answer is an action. Send the action itself." if acts else "")
        given = {name: value for name, value in action.items() if name not in ("thought", "action")}
        return Reading(str(reply), (ToolCall("", action["action"], json.dumps(given, ensure_ascii=False)),))

    def plain(self, reply: Reply, tools: Sequence[Spec]) -> str:
        """Return the answer or the thought."""
        action = jsontext.parse_object(reply) or {}
        words = _words(action.get("text")) or _words(action.get("thought")) or reply
        return in_text.spoken(words, names(tools))

    def said(self, event: Replied) -> Message:
        """Return what it wrote, as it wrote it."""
        return {"role": "assistant", "content": event.text}

    def result(self, event: ToolReturned) -> Message:
        """Return the result as the user's turn."""
        return {"role": "user", "content": event.text}


def _words(value: object) -> str:
    """Return what should be a text as one; nothing for null."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _schema(tools: Sequence[Spec]) -> dict[str, Any]:
    able = [
        _action(
            tool["function"]["name"],
            tool["function"]["parameters"]["properties"],
            tool["function"]["parameters"]["required"],
        )
        for tool in tools
    ]
    return {"anyOf": [*able, _action(ANSWER, {"text": {"type": "string"}}, ["text"])]}


def _action(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    plain = {key: {word: part[word] for word in _SHAPE if word in part} for key, part in properties.items()}
    return {
        "type": "object",
        "properties": {"thought": {"type": "string", "maxLength": 200}, "action": {"const": name}, **plain},
        "required": ["thought", "action", *required],
        "additionalProperties": False,
    }
