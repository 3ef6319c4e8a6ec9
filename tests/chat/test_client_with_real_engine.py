"""The client against the real engine with the real model."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.chat.client import OpenAICompatibleChatClient
from concierge.errors import StatusError

if TYPE_CHECKING:
    from concierge.chat.port import Delta
    from concierge.endpoint import Endpoint

pytestmark = [pytest.mark.anyio, pytest.mark.real]

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
READ = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}


async def test_a_question_is_answered_with_its_token_counts(real_endpoint: Endpoint) -> None:
    async with OpenAICompatibleChatClient(real_endpoint) as chat:
        reply = await chat.chat(QUESTION, real_endpoint.model, temperature=0.0, max_tokens=60)
    assert "Paris" in reply
    assert (reply.finish_reason, reply.model) == ("stop", real_endpoint.model)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 20
    assert 0 < reply.usage.completion_tokens <= 60


async def test_a_streamed_answer_is_the_same_as_a_whole_one(real_endpoint: Endpoint) -> None:
    deltas: list[Delta] = []
    async with OpenAICompatibleChatClient(real_endpoint) as chat:
        whole = await chat.chat(QUESTION, real_endpoint.model, temperature=0.0, max_tokens=60)
        streamed = await chat.chat(
            QUESTION, real_endpoint.model, temperature=0.0, max_tokens=60, on_delta=deltas.append
        )
    assert streamed == whole == "".join(delta.content for delta in deltas)
    assert len(deltas) > 3
    assert (streamed.usage, streamed.finish_reason) == (whole.usage, whole.finish_reason)


async def test_an_answer_that_meets_its_limit_says_so(real_endpoint: Endpoint) -> None:
    async with OpenAICompatibleChatClient(real_endpoint) as chat:
        for listen in (None, lambda _: None):
            reply = await chat.chat(QUESTION, real_endpoint.model, max_tokens=2, on_delta=listen)
            assert reply.finish_reason == "length"
            assert reply.usage is not None
            assert reply.usage.completion_tokens == 2


async def test_tools_are_accepted(real_endpoint: Endpoint) -> None:
    async with OpenAICompatibleChatClient(real_endpoint) as chat:
        reply = await chat.chat(QUESTION, real_endpoint.model, tools=[READ], max_tokens=20, on_delta=lambda _: None)
    assert reply or reply.tool_calls


async def test_a_wrong_key_is_refused_with_the_next_step(real_endpoint: Endpoint) -> None:
    async with OpenAICompatibleChatClient(replace(real_endpoint, api_key="not-the-key")) as chat:
        with pytest.raises(StatusError, match="api_key_env") as caught:
            await chat.chat(QUESTION, real_endpoint.model)
    assert caught.value.status == 401
    assert "not-the-key" not in str(caught.value)


async def test_a_prompt_beyond_the_context_is_refused_with_the_next_step(real_endpoint: Endpoint) -> None:
    long = [{"role": "user", "content": "word " * 5000}]
    async with OpenAICompatibleChatClient(real_endpoint) as chat:
        with pytest.raises(StatusError, match="larger `context`") as caught:
            await chat.chat(long, real_endpoint.model, max_tokens=1)
    assert caught.value.status == 400


async def test_after_a_cancelled_answer_the_next_one_comes(real_endpoint: Endpoint) -> None:
    first = asyncio.Event()
    story = [{"role": "user", "content": "Tell me a very long story."}]
    async with OpenAICompatibleChatClient(real_endpoint) as chat, asyncio.timeout(60):
        asking = asyncio.create_task(
            chat.chat(story, real_endpoint.model, max_tokens=1500, on_delta=lambda _: first.set())
        )
        await first.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert "Paris" in await chat.chat(QUESTION, real_endpoint.model, temperature=0.0, max_tokens=60)
