"""How requests leave for a model, and what the HTTP library's errors mean to a person."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import httpx

from concierge import __version__, net
from concierge.chat.failure import one_line
from concierge.errors import ConfigError, ReplyError, TransportError
from concierge.net import web

if TYPE_CHECKING:
    from concierge.chat.request import Route
    from concierge.endpoint import Endpoint

_HEADERS: Final = {
    "content-type": "application/json",
    "user-agent": f"concierge/{__version__}",
    # Compression would hold tokens back.
    "accept-encoding": "identity",
}
# Longer than a tool usually takes; a server that closes earlier is noticed before the next request is sent.
_KEEPALIVE_S: Final = 60.0
# No real reply comes near; a server that never stops must not fill the memory.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


class Wire:
    """One pooled connection to one endpoint. Its key goes there and nowhere else: redirects are not followed."""

    def __init__(
        self, endpoint: Endpoint, route: Route, *, timeout: httpx.Timeout, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._endpoint = endpoint
        self._route = route
        self._timeout = timeout
        self._http = web.conversation(
            endpoint,
            headers=_HEADERS,
            timeout=timeout,
            limits=httpx.Limits(max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_S),
            transport=transport,
        )
        # What cannot be used is said before it is used.
        self._url("model")

    def _url(self, model: str) -> httpx.URL:
        try:
            return httpx.URL(self._route.url(model))
        except httpx.InvalidURL as error:
            raise ConfigError(
                f"`base_url` is not a URL: {one_line(str(error))}",
                where="llm.base_url",
                hint="Write it like http://127.0.0.1:11434/v1.",
            ) from None

    async def send(self, model: str, body: bytes) -> httpx.Response:
        """Ask ``model`` and return when the answer's head has arrived; the body is still to be read."""
        request = self._http.build_request("POST", self._url(model), content=body)
        return await self._http.send(request, stream=True)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    def explain(self, error: httpx.HTTPError, *, began: bool) -> TransportError:
        """Say what httpx's error means; ``began`` when the answer's head had arrived."""
        place = self._endpoint.base_url
        start = "Check `base_url` and the network; concierge starts nothing on another machine."
        look = "Try again later."
        if self._endpoint.owned:
            start, look = "`concierge up` starts it again.", "`concierge status` names the server's log."
        elif self._endpoint.address.loopback:
            start, look = "Start that server, or correct `base_url`.", "Look at that server's own log."
        elif way := net.way(place, os.environ):
            start = f"{way} {start}"
        match error:
            case httpx.ConnectTimeout():
                what, hint = f"{place} did not accept a connection within {self._timeout.connect:g} s.", start
            case httpx.TimeoutException():
                what = f"{place} sent nothing for {self._timeout.read:g} s."
                hint = "Raise `read_timeout_s`, ask for less, or choose a smaller model."
            case httpx.ProxyError():
                what = f"The proxy for {place} failed: {one_line(str(error))}."
                hint = "Check HTTP_PROXY and HTTPS_PROXY."
            case httpx.ConnectError():
                what, hint = f"No server at {place}: {_cause(error)}.", start
            case _ if began:
                what, hint = f"The connection to {place} broke in the middle of the answer.", look
            case _:
                what, hint = f"{place} closed the connection without an answer.", look
        return TransportError(what, where=place, hint=hint)


async def read(response: httpx.Response, *, limit: int = MAX_BODY_BYTES, cut: bool = False) -> bytes:
    """Return the body of a response; of one that is longer than ``limit``, its beginning where it may be ``cut``.

    Raises:
        ReplyError: The body is longer than ``limit``.
    """
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > limit:
            if cut:
                break
            raise ReplyError(f"The server's answer is longer than {limit:,} bytes.")
    return b"".join(parts)[:limit]


def may_send_again(error: httpx.HTTPError) -> bool:
    """Tell whether a request that got no answer may be sent again: not after a wait that was already long."""
    return not isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout, httpx.LocalProtocolError))


def _cause(error: BaseException) -> str:
    """Return the first cause that says something: httpx wraps the operating system's sentence several times."""
    text = one_line(str(error))
    if "All connection attempts failed" in text or not text:
        return "connection refused"
    return text.rstrip(".")
