"""Listening: loopback unless somebody chose both an address and a token."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from concierge.api.app import create_app
from concierge.endpoint import hosts, is_loopback
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from concierge.api.app import River

GRACE_SECONDS = 5
"""For requests that are being answered when the server stops; runs are ended before that."""


class Server(uvicorn.Server):
    """Serves the API on a socket that already listens, until a signal or ``should_exit``.

    ``on_ready`` is called with the URL once requests are answered.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        listener: socket.socket,
        on_ready: Callable[[str], None],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._jobs = app.state.jobs
        self._listener = listener
        self._on_ready = on_ready
        self._say = say
        self._full = False

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end. A signal that ended it is raised again afterwards, as KeyboardInterrupt for SIGINT."""
        super().run(sockets or [self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._trouble)
        await super().startup(sockets)
        if self.started:
            self._on_ready(url(self._listener))

    def _trouble(self, loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        """Say once that there are no file handles left: asyncio would say it for every connection that waits."""
        error = told.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(told)
        elif not self._full:
            self._full = True
            self._say(
                "No file handles are left: new connections wait for others to close. `ulimit -n` raises the bound."
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the runs first: who waits for one is then answered at once."""
        await self._jobs.stop()
        await super().shutdown(sockets)


def serve(river: River, *, say: Callable[[str], None]) -> None:
    """Serve the API of ``river`` until a signal; where nobody chose a token, one is made up and said.

    Ctrl-C is raised again as KeyboardInterrupt, after everything was ended cleanly.
    """
    api = river.config.api
    refuse_exposure(api.host, token_chosen=api.token is not None)
    if river.config.llm.local_llm_ensure_available:
        with river.using(None):
            pass
    token = api.token.get_secret_value() if api.token else secrets.token_urlsafe(24)

    def ready(url: str) -> None:
        say(f"Serving {url}")
        if api.token is None:
            say(f"Bearer token for this start: {token}")

    app = create_app(river, token=token, hosts=(api.host,))
    with listen(api.host, api.port, token_chosen=api.token is not None) as listener:
        try:
            Server(app, listener=listener, on_ready=ready, say=say).run()
        finally:
            river.close()


def listen(host: str, port: int, *, token_chosen: bool) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: It cannot, or it would be open to others without a token of the user's own.
    """
    refuse_exposure(host, token_chosen=token_chosen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((hosts(host)[0], port), family=family)
    except OSError as error:
        raise ConfigError(
            f"The API cannot listen on {host}, port {port}: {error.strerror or error}.",
            where="api.port",
            hint="Choose another port with api.port; 0 takes a free one.",
        ) from None


def refuse_exposure(host: str, *, token_chosen: bool) -> None:
    """Refuse to be reached from other machines without a token of the user's own."""
    if not token_chosen and not is_loopback(host):
        raise ConfigError(
            f"{host} is open to other machines, and no token was chosen.",
            where="api.host",
            hint="Set api.token, or listen on 127.0.0.1.",
        )


def url(listener: socket.socket) -> str:
    """Return the URL at which the socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
