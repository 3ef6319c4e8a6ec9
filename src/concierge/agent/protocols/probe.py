"""How a model acts that nobody has measured: it is asked once, with a tool that it should call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge import jsontext
from concierge.agent.protocols.native import Native
from concierge.errors import StatusError

if TYPE_CHECKING:
    from concierge.agent.protocols.port import Name, Spec
    from concierge.chat.port import ChatClient

TOOL: Spec = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Read a text file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string", "description": "File, relative to the folder"}},
            "required": ["path"],
        },
    },
}
QUESTION = "How many lines does notes.txt have?\n\nThe folder holds: notes.txt (120 bytes)."
MAX_TOKENS = 1024
"""A model that thinks needs some before it acts."""


async def probe(chat: ChatClient, model: str) -> Name | None:
    """Return how a model acts: ``native`` where the server tells its call apart, else ``shell``; None where it is cut.

    A call that arrives in the text, none at all, and a server that refuses tools all say that small steps in the
    shell are easier for it (docs/agent.md has the figures).

    Raises:
        ChatError: No answer came, or one that is none.
    """
    messages = [*Native().taught((TOOL,)), {"role": "user", "content": QUESTION}]
    try:
        reply = await chat.chat(messages, model, tools=(TOOL,), max_tokens=MAX_TOKENS, temperature=0)
    except StatusError as error:
        if "tool" in error.what.lower():
            return "shell"
        raise
    if any(call.name == "read" and jsontext.parse_object(call.arguments) for call in reply.tool_calls):
        return "native"
    return None if reply.finish_reason == "length" else "shell"
