from __future__ import annotations

import asyncio

import pytest

from concierge.agent.protocols.probe import probe
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall
from concierge.errors import StatusError, TransportError


@pytest.mark.parametrize(
    ("reply", "protocol"),
    [
        (Reply("", tool_calls=[ToolCall("1", "read", '{"path": "notes.txt"}')]), "native"),
        (Reply("", tool_calls=[ToolCall("1", "open", '{"path": "notes.txt"}')]), "shell"),
        (Reply("", tool_calls=[ToolCall("1", "read", "")]), "shell"),
        (Reply('```json\n{"name": "read", "arguments": {"path": "notes.txt"}}\n```'), "shell"),
        (Reply("It has three lines."), "shell"),
        (Reply("I think about it and", finish_reason="length"), None),
        (StatusError("m does not support tools", status=400), "shell"),
    ],
)
def test_a_model_that_nobody_measured_shows_how_it_acts(reply: Reply | StatusError, protocol: str | None) -> None:
    chat = FakeChat([reply])
    assert asyncio.run(probe(chat, "m")) == protocol
    assert [tool["function"]["name"] for tool in chat.asked[0].options["tools"] or ()] == ["read"]


@pytest.mark.parametrize("error", [StatusError("overloaded", status=503), TransportError("gone")])
def test_a_server_that_does_not_answer_shows_nothing(error: Exception) -> None:
    with pytest.raises(type(error)):
        asyncio.run(probe(FakeChat([error]), "m"))
