"""Who may ask at all: decided before a request's body is read."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from concierge.api.problems import ApiError, response

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/health"})
BODY_BYTES = 1024 * 1024
"""A task is text that somebody wrote, not a file."""


class Guard:
    """Refuses foreign hosts, requests without the token, and bodies that are not small JSON.

    A web page can make a browser send requests here under a name that the page's owner controls
    (DNS rebinding): a ``Host`` must therefore be an address, ``localhost``, or a name that was allowed.
    Every request but ``/health`` must carry the bearer ``token``.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset({"localhost", *(host.lower() for host in hosts)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the reason why not."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ApiError as error:
                await response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers.getlist("host"))
        if scope["path"] in OPEN_PATHS:
            return
        self._check_token(headers.getlist("authorization"))
        if scope["method"] == "POST":
            _check_body(headers)

    def _check_host(self, given: list[str]) -> None:
        host = given[0].lower() if len(given) == 1 else ""
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name not in self._hosts and not _is_address(name):
            hint = "Ask by address, as localhost, or by the name in api.host."
            raise ApiError("This server is not known by that Host.", status=403, hint=hint)

    def _check_token(self, given: list[str]) -> None:
        scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        # Compared whole in constant time, whatever the scheme: the time says nothing about the token.
        if not hmac.compare_digest(token.encode("latin-1").strip(), self._token) or scheme.lower() != "bearer":
            raise ApiError(
                "The token is missing or wrong.",
                status=401,
                hint="Send `Authorization: Bearer TOKEN`; `concierge serve` prints the token when it starts.",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _check_body(headers: Headers) -> None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # A form's content type is what a foreign page may send without asking first.
        raise ApiError("The body must be JSON.", status=415, hint="Send `Content-Type: application/json`.")
    length = headers.get("content-length", "")
    if not length.isdecimal():
        raise ApiError("The body's length is missing.", status=411, hint="Send `Content-Length`.")
    if int(length) > BODY_BYTES:
        raise ApiError(f"The body is larger than {BODY_BYTES} bytes.", status=413, hint="Send a shorter task.")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
