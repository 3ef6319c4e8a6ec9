import asyncio
from typing import Any

import pytest

from concierge.chat.fake import Asked, FakeChat
from concierge.chat.port import ChatClient, Delta, Reply, ToolCall
from concierge.errors import TransportError

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "Hello?"}]


async def test_answers_come_in_the_order_of_the_script() -> None:
    call = ToolCall("call_1", "read", '{"path": "a"}')
    chat: ChatClient = FakeChat(["first", Reply("", tool_calls=[call], finish_reason="tool_calls")])
    assert await chat.chat(QUESTION, "m") == "first"
    second = await chat.chat(QUESTION, "m")
    assert (second.tool_calls, second.finish_reason) == ((call,), "tool_calls")


async def test_what_was_asked_is_recorded_as_it_was_then() -> None:
    chat = FakeChat(["yes"])
    messages: list[dict[str, Any]] = [{"role": "user", "content": "before"}]
    await chat.chat(messages, "m", temperature=0.5, max_tokens=7, top_p=None)
    messages[0]["content"] = "after"
    assert chat.asked == [Asked([{"role": "user", "content": "before"}], "m", {"temperature": 0.5, "max_tokens": 7})]


async def test_an_error_in_the_script_is_raised() -> None:
    with pytest.raises(TransportError, match="gone"):
        await FakeChat([TransportError("gone")]).chat(QUESTION, "m")


async def test_a_function_in_the_script_sees_the_question() -> None:
    chat = FakeChat([lambda asked: asked.messages[-1]["content"].upper()])
    assert await chat.chat(QUESTION, "m") == "HELLO?"


async def test_a_coroutine_in_the_script_can_wait_for_the_test() -> None:
    go = asyncio.Event()

    async def answer(_: Asked) -> str:
        await go.wait()
        return "late"

    asking = asyncio.create_task(FakeChat([answer]).chat(QUESTION, "m"))
    go.set()
    assert await asyncio.wait_for(asking, 5) == "late"


async def test_a_streamed_answer_comes_in_pieces_that_join_to_it() -> None:
    deltas: list[Delta] = []
    text = " two  words,\nthen three "
    reply = await FakeChat([Reply(text, reasoning="hm")]).chat(QUESTION, "m", on_delta=deltas.append)
    assert "".join(delta.content for delta in deltas) == reply == text
    assert len(deltas) > 3
    assert deltas[0] == Delta(reasoning="hm")


async def test_a_used_up_script_says_so() -> None:
    chat = FakeChat(["only"])
    await chat.chat(QUESTION, "m")
    with pytest.raises(AssertionError, match="asked 2 times, its script has 1"):
        await chat.chat(QUESTION, "m")


async def test_closing_is_recorded() -> None:
    async with FakeChat() as chat:
        assert not chat.closed
    assert chat.closed
