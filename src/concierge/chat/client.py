"""The one client for every server that speaks the OpenAI chat-completions API."""

from __future__ import annotations

import asyncio
import random as dice
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Self, Unpack, cast

import httpx

from concierge.chat.failure import (
    Backoff,
    Failure,
    RetryPolicy,
    StreamFailure,
    may_pass,
    one_line,
    parse_failure,
)
from concierge.chat.port import ChatOptions, Delta, Message, OnDelta, Reply
from concierge.chat.request import Spelling, encode, folded, other_spelling, request_body, route, spell
from concierge.chat.sse import SseDecoder
from concierge.chat.stream import ReplyStream, parse_reply
from concierge.chat.transport import Wire, may_send_again, read
from concierge.errors import ChatError, ReplyError, StatusError
from concierge.net import retry_after

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from concierge.endpoint import Endpoint

# An error page's first lines are enough to say what it says.
_ERROR_BYTES: Final = 64 * 1024
# The connection can be used again when the body's end has been read; it comes with or right after the end mark.
_DRAIN_S: Final = 0.25


class OpenAICompatibleChatClient:
    """A ``ChatClient`` for one endpoint, over one pooled connection.

    Close it with ``aclose`` or use it in ``async with``.

    Args:
        endpoint: The server to ask. Its key is sent to that server only.
        connect_timeout_s: Seconds to open a connection.
        read_timeout_s: Seconds without a byte after which a request has failed. The first byte of an answer
            comes after the whole prompt has been read, which can take minutes on a CPU.
        retry: How long to insist before an answer begins.
        transport: Carries the requests instead of the network.
        clock: Monotonic seconds, for the retry budget.
        now: Seconds since the epoch, for servers that name a date to come back at.
        sleep: Waits for seconds between attempts.
        random: Dice in [0, 1) that spread the attempts.

    Raises:
        ConfigError: The endpoint's URL cannot be used, or the environment names certificates that cannot be read.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 600.0,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = dice.random,
    ) -> None:
        self._endpoint = endpoint
        self._route = route(endpoint)
        self._retry = retry or RetryPolicy()
        self._clock, self._now, self._sleep, self._random = clock, now, sleep, random
        self._spelling: Spelling = {}
        self._folds = False
        timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=None)
        self._wire = Wire(endpoint, self._route, timeout=timeout, transport=transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.base_url!r}, dialect={self._endpoint.dialect!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._wire.aclose()

    async def chat(self, messages: Sequence[Message], model: str, **options: Unpack[ChatOptions]) -> Reply:
        """Answer ``messages``; see ``ChatClient.chat``.

        Raises:
            TransportError: No answer arrived.
            StatusError: The server answered with an error.
            ReplyError: The answer is not a chat completion, or it is cut off.
        """
        on_delta = options.get("on_delta")
        body = request_body(messages, model, options, limit_name=self._route.limit_name)
        response = await self._open(model, body)
        try:
            return await self._reply(response, on_delta)
        except StreamFailure as caught:
            raise self._status_error(0 if on_delta else response.status_code, caught.failure) from None
        except httpx.HTTPError as error:
            raise self._wire.explain(error, began=True) from error
        except ReplyError as error:
            raise self._placed(error) from None
        finally:
            await response.aclose()

    async def _open(self, model: str, body: Mapping[str, object]) -> httpx.Response:
        """Send the request, as often as the policy allows, until an answer begins."""
        backoff = Backoff(self._retry, clock=self._clock, random=self._random)
        trial: Spelling = {}
        while True:
            spelled = spell(body, self._spelling | trial)
            sent = encode(folded(spelled) if self._folds else spelled)
            try:
                response = await self._wire.send(model, sent)
            except httpx.HTTPError as caught:
                error: ChatError = self._wire.explain(caught, began=False)
                pause = backoff.pause() if may_send_again(caught) else None
            else:
                if response.is_success:
                    self._spelling |= trial
                    return response
                status, failure = response.status_code, await self._failure(response)
                swap = self._swap(status, failure, body, trial)
                if swap:
                    trial |= swap
                    continue
                if failure.about_roles and not self._folds:
                    self._folds = True
                    continue
                asked = retry_after(response.headers, self._now())
                error = self._status_error(status, failure, asked)
                pause = self._pause(backoff, status, failure, asked)
            if pause is None:
                raise error
            await self._sleep(pause)

    async def _failure(self, response: httpx.Response) -> Failure:
        try:
            body = await read(response, limit=_ERROR_BYTES, cut=True)
        except httpx.HTTPError:
            body = b""
        finally:
            await response.aclose()
        failure = parse_failure(body, response.headers.get("content-type", ""))
        if response.has_redirect_location:
            return Failure(one_line(f"redirect to {response.headers['location']}"))
        return failure if failure.message else Failure(response.reason_phrase, failure.words)

    def _swap(self, status: int, failure: Failure, body: Mapping[str, object], trial: Spelling) -> Spelling:
        """Return the parameters to send under another name, when that is all the server objects to."""
        if status not in (400, 422):
            return {}
        refusal = " ".join((failure.message, *failure.words))
        sent = spell(body, self._spelling | trial)
        return other_spelling(refusal, sent, self._spelling | trial)

    @staticmethod
    def _pause(backoff: Backoff, status: int, failure: Failure, asked: float | None) -> float | None:
        if failure.final or not may_pass(status):
            return None
        return backoff.pause(retry_after=asked, loading=status == 503 and failure.loading)

    async def _reply(self, response: httpx.Response, on_delta: OnDelta | None) -> Reply:
        kind = response.headers.get("content-type", "")
        if "html" in kind:
            page = parse_failure(await read(response, limit=_ERROR_BYTES, cut=True), kind)
            raise ReplyError(f"The server answered with a web page, not a chat completion: {page.message}")
        if on_delta is None:
            return parse_reply(await read(response))
        if "json" not in kind:
            return await self._stream(response, on_delta)
        # Some servers do not stream when there are tools, whatever they were asked.
        reply = parse_reply(await read(response))
        if reply or reply.reasoning:
            on_delta(Delta(str(reply), reply.reasoning))
        return reply

    async def _stream(self, response: httpx.Response, on_delta: OnDelta) -> Reply:
        stream, events = ReplyStream(), SseDecoder()
        add, feed = stream.add, events.feed
        decoded = "content-encoding" in response.headers or response.is_stream_consumed
        raw = response.aiter_bytes() if decoded else response.aiter_raw()
        # They are generators, whatever their annotation says, and must be closed when the caller stops listening.
        async with aclosing(cast("AsyncGenerator[bytes, None]", raw)) as chunks:
            try:
                async for chunk in chunks:
                    for payload in feed(chunk):
                        delta = add(payload)
                        if delta is not None:
                            on_delta(delta)
                    if stream.done:
                        await _drain(chunks)
                        break
            except httpx.HTTPError:
                # Nothing is missing from an answer whose end was announced.
                if not stream.finished:
                    raise
        for delta in stream.end(events.flush()):
            on_delta(delta)
        return stream.reply()

    def _status_error(self, status: int, failure: Failure, asked: float | None = None) -> StatusError:
        place = self._endpoint.base_url
        message = self._without_key(failure.message or "no reason given")
        what = f"{place} answered {status}: {message}" if status else f"{place}: {message}"
        hint = _hint(status, failure, asked, ours=self._endpoint.owned)
        return StatusError(what, status=status, retry_after=asked, where=place, hint=hint)

    def _placed(self, error: ReplyError) -> ReplyError:
        hint = error.hint or "Check that `base_url` is the root of a chat-completions API (it usually ends in /v1)."
        return ReplyError(self._without_key(error.what), where=self._endpoint.base_url, hint=hint)

    def _without_key(self, text: str) -> str:
        key = self._endpoint.api_key
        return text.replace(key, "***") if key else text


OllamaChatClient = OpenAICompatibleChatClient


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in chunks:
                pass


def _hint(status: int, failure: Failure, asked: float | None, *, ours: bool) -> str | None:
    if failure.about_roles:
        return "The model's chat template refuses the roles of this conversation: take another model, or template."
    if 300 <= status < 400:
        return "Set `base_url` to that address if you trust it; the key is never sent along a redirect."
    if status in (401, 403):
        return "Set the key with `api_key_env` (the name of a variable that holds it)."
    if status == 404:
        return "Check `base_url` (it usually ends in /v1) and that the server has the model."
    if status == 429 and asked is not None:
        return f"The server asks to wait {asked:g} s."
    if failure.too_long:
        larger = "give it a larger `context` in concierge.toml" if ours else "give that server a larger context"
        return f"Send less, or {larger}."
    if failure.loading:
        return "The model is still loading; try again in a while."
    return "Look at the server's log." if status >= 500 else None
