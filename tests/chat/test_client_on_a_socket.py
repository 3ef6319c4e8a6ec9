"""The client against a real socket: what no mock transport can show."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

import pytest

from concierge.chat.client import OpenAICompatibleChatClient
from concierge.chat.failure import RetryPolicy
from concierge.chat.port import Delta
from concierge.endpoint import Endpoint
from concierge.errors import ReplyError, TransportError

pytestmark = pytest.mark.anyio

QUESTION = [{"role": "user", "content": "Hello?"}]
GOOD = b'{"choices":[{"message":{"content":"Hi."},"finish_reason":"stop"}]}'
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(GOOD), GOOD)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{"content":"lo."},"finish_reason":"stop"}]}\n\n'
STREAMS = Path(__file__).parent / "streams"

Answerer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server on a free port; ``answer`` is called with the number of each request, from 1 on."""

    def __init__(self, answer: Answerer) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()
        self._answer = answer

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                self.requests.append(head + await reader.readexactly(int(length.partition(b":")[2])))
                await self._answer(len(self.requests), writer)
        self.gone.set()
        writer.close()


@contextlib.asynccontextmanager
async def peer(answer: Answerer) -> AsyncIterator[tuple[Peer, str]]:
    peer = Peer(answer)
    server = await asyncio.start_server(peer.connected, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(20):
            yield peer, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


NO_RETRY = RetryPolicy(attempts=1)


def client(url: str, *, retry: RetryPolicy = NO_RETRY, read_timeout_s: float = 10.0) -> OpenAICompatibleChatClient:
    return OpenAICompatibleChatClient(Endpoint(url, "m", "key"), retry=retry, read_timeout_s=read_timeout_s)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def answer_whole(_: int, writer: asyncio.StreamWriter) -> None:
    writer.write(WHOLE)


async def test_whole_and_streamed_answers_share_one_connection() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        streamed = STREAM_HEAD + chunk(FIRST) + chunk(LAST) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        writer.write(streamed if number % 2 else WHOLE)

    async with peer(answer) as (server, url), client(url) as chat:
        for _ in range(3):
            assert await chat.chat(QUESTION, "m", on_delta=lambda _: None) == "Hello."
            assert await chat.chat(QUESTION, "m") == "Hi."
    assert (server.connections, len(server.requests)) == (1, 6)


@pytest.mark.parametrize("name", ["llama-server", "ollama", "llama-cpp-python", "openai-tool-calls"])
async def test_a_stream_that_arrives_byte_by_byte_is_read(name: str) -> None:
    stream = (STREAMS / f"{name}.sse").read_bytes()

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for start in range(len(stream)):
            writer.write(chunk(stream[start : start + 1]))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with peer(answer) as (_, url), client(url) as chat:
        reply = await chat.chat(QUESTION, "m", on_delta=lambda _: None)
    assert reply.finish_reason in ("stop", "length", "tool_calls")


async def test_a_piece_is_shown_before_the_next_one_exists() -> None:
    shown = asyncio.Event()
    deltas: list[Delta] = []

    def listener(delta: Delta) -> None:
        deltas.append(delta)
        shown.set()

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(FIRST))
        await shown.wait()
        writer.write(chunk(LAST) + b"0\r\n\r\n")

    async with peer(answer) as (_, url), client(url) as chat:
        assert await chat.chat(QUESTION, "m", on_delta=listener) == "Hello."
    assert deltas == [Delta("Hel"), Delta("lo.")]


async def test_a_reset_in_the_middle_of_a_stream_is_told_and_not_repeated() -> None:
    shown = asyncio.Event()

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(FIRST))
        await shown.wait()
        reset(writer)

    async with peer(answer) as (server, url), client(url, retry=RetryPolicy()) as chat:
        with pytest.raises(TransportError, match="broke in the middle of the answer"):
            await chat.chat(QUESTION, "m", on_delta=lambda _: shown.set())
    assert len(server.requests) == 1


async def test_a_stream_that_is_closed_without_its_last_chunk_is_told() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(FIRST))
        writer.close()

    async with peer(answer) as (_, url), client(url) as chat:
        with pytest.raises(TransportError, match="broke in the middle"):
            await chat.chat(QUESTION, "m", on_delta=lambda _: None)


async def test_a_stream_that_ends_in_order_but_too_early_is_told() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(FIRST) + b"0\r\n\r\n")

    async with peer(answer) as (_, url), client(url) as chat:
        with pytest.raises(ReplyError, match="in the middle of the answer: no finish_reason"):
            await chat.chat(QUESTION, "m", on_delta=lambda _: None)


async def test_an_answer_whose_connection_stays_open_after_its_end_mark_is_returned() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(FIRST + LAST + b"data: [DONE]\n\n"))

    async with peer(answer) as (server, url), client(url) as chat:
        assert await chat.chat(QUESTION, "m", on_delta=lambda _: None) == "Hello."
        await server.gone.wait()


@pytest.mark.parametrize("end", [reset, asyncio.StreamWriter.close])
async def test_a_connection_that_closes_before_the_answer_is_opened_again(
    end: Callable[[asyncio.StreamWriter], None],
) -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            end(writer)
        else:
            writer.write(WHOLE)

    async with peer(answer) as (server, url), client(url, retry=RetryPolicy(first_pause_s=0.01)) as chat:
        assert await chat.chat(QUESTION, "m") == "Hi."
    assert len(server.requests) == 2


async def test_a_server_that_closes_between_two_questions_is_not_noticed() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE)
        await writer.drain()
        writer.close()

    async with peer(answer) as (server, url), client(url, retry=RetryPolicy(first_pause_s=0.01)) as chat:
        for _ in range(3):
            assert await chat.chat(QUESTION, "m") == "Hi."
    assert server.connections >= 3


async def test_a_server_that_says_nothing_is_given_up_after_the_read_timeout_and_not_asked_again() -> None:
    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        pass

    async with peer(answer) as (server, url), client(url, retry=RetryPolicy(), read_timeout_s=0.1) as chat:
        with pytest.raises(TransportError, match=r"sent nothing for 0\.1 s"):
            await chat.chat(QUESTION, "m")
        assert len(server.requests) == 1


async def test_a_cancelled_question_closes_the_connection() -> None:
    shown = asyncio.Event()

    async def answer(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(FIRST))

    async with peer(answer) as (server, url), client(url) as chat:
        asking = asyncio.create_task(chat.chat(QUESTION, "m", on_delta=lambda _: shown.set()))
        await shown.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.gone.wait()


async def test_two_questions_at_once_are_answered_at_once() -> None:
    both = asyncio.Event()

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 2:
            both.set()
        await both.wait()
        writer.write(WHOLE)

    async with peer(answer) as (_, url), client(url) as chat:
        assert [*await asyncio.gather(chat.chat(QUESTION, "m"), chat.chat(QUESTION, "m"))] == ["Hi.", "Hi."]


async def test_nobody_at_the_port_is_told_with_the_next_step() -> None:
    async with peer(answer_whole) as (_, url):
        pass
    async with client(url) as chat:
        with pytest.raises(TransportError, match=f"No server at {url}: connection refused") as caught:
            await chat.chat(QUESTION, "m")
    assert caught.value.hint == "Start that server, or correct `base_url`."


async def test_a_proxy_never_stands_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with peer(answer_whole) as (_, url), client(url) as chat:
        assert await chat.chat(QUESTION, "m") == "Hi."


async def test_another_machine_is_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer(answer_whole) as (server, url):
        for variable in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(variable, url.removesuffix("/v1"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with client("http://llm.invalid/v1") as chat:
            assert await chat.chat(QUESTION, "m") == "Hi."
    assert server.requests[0].startswith(b"POST http://llm.invalid/v1/chat/completions ")
