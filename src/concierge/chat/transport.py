"""How requests leave for a model, and what the HTTP library's errors mean to a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx

from concierge import __version__
from concierge.chat.failure import one_line
from concierge.errors import ConfigError, ReplyError, TransportError
from concierge.net import web

if TYPE_CHECKING:
    from concierge.chat.dialect import Route
    from concierge.endpoint import Endpoint

AsyncBaseTransport = httpx.AsyncBaseTransport
HTTPError = httpx.HTTPError
Request = httpx.Request
Response = httpx.Response

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
        self,
        endpoint: Endpoint,
        route: Route,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        transport: AsyncBaseTransport | None = None,
    ) -> None:
        self._route = route
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._http = web.conversation(
            endpoint,
            headers=_HEADERS,
            timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=None),
            limits=httpx.Limits(max_keepalive_connections=1, keepalive_expiry=_KEEPALIVE_S),
            transport=transport,
        )
        self._urls: dict[str, httpx.URL] = {}
        self._check_url()

    def _check_url(self) -> None:
        try:
            httpx.URL(self._route.url("model"))
        except httpx.InvalidURL as error:
            raise ConfigError(
                f"`base_url` is not a URL: {one_line(str(error))}",
                where="llm.base_url",
                hint="Write it like http://127.0.0.1:11434/v1.",
            ) from None

    def request(self, model: str, body: bytes) -> Request:
        """Return the request that asks ``model``."""
        url = self._urls.get(model)
        if url is None:
            url = self._urls[model] = httpx.URL(self._route.url(model))
        return self._http.build_request("POST", url, content=body)

    async def send(self, request: Request) -> Response:
        """Send the request and return when the answer's head has arrived; the body is still to be read.

        Raises:
            HTTPError: No head arrived.
        """
        return await self._http.send(request, stream=True)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    def explain(self, error: HTTPError, *, began: bool) -> TransportError:
        """Turn a transport error into one that says what happened and what to do next.

        Args:
            error: What httpx raised.
            began: True when the answer's head had arrived.
        """
        place = self._route.shown
        what, hint = self._account(error, place, began=began)
        return TransportError(what, where=place, hint=hint)

    def _account(self, error: HTTPError, place: str, *, began: bool) -> tuple[str, str]:
        read_hint = "Raise `read_timeout_s`, ask for less, or choose a smaller model."
        match error:
            case httpx.ConnectTimeout():
                return f"{place} did not accept a connection within {self._connect_timeout_s:g} s.", self._start_hint()
            case httpx.TimeoutException():
                return f"{place} sent nothing for {self._read_timeout_s:g} s.", read_hint
            case httpx.ProxyError():
                return f"The proxy for {place} failed: {one_line(str(error))}.", "Check HTTP_PROXY and HTTPS_PROXY."
            case httpx.ConnectError():
                return f"No server at {place}: {_cause(error)}.", self._start_hint()
            case _ if began:
                return f"The connection to {place} broke in the middle of the answer.", self._log_hint()
            case _:
                return f"{place} closed the connection without an answer.", self._log_hint()

    def _start_hint(self) -> str:
        if self._route.loopback:
            return "Start one with `concierge up`."
        return "Check `base_url` and the network; concierge starts nothing on another machine."

    def _log_hint(self) -> str:
        return "Look at the server's log (`concierge status` names it)." if self._route.loopback else "Try again later."


async def read(response: Response, *, limit: int = MAX_BODY_BYTES, cut: bool = False) -> bytes:
    """Return the body of a response.

    Args:
        response: A response whose body has not been read.
        limit: The most bytes to take.
        cut: Return the first ``limit`` bytes of a longer body instead of failing.

    Raises:
        ReplyError: The body is longer than ``limit``.
        HTTPError: The body did not arrive whole.
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


def may_send_again(error: HTTPError) -> bool:
    """Tell whether a request that got no answer may be sent again: not after a wait that was already long."""
    return not isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout, httpx.LocalProtocolError))


def _cause(error: BaseException) -> str:
    """Return the first cause that says something: httpx wraps the operating system's sentence several times."""
    text = one_line(str(error))
    if "All connection attempts failed" in text or not text:
        return "connection refused"
    return text.rstrip(".")
