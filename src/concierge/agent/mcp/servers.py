"""The MCP servers of a run: started before it, ended after it, their tools beside its own."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from concierge.agent.foreign import Foreign
from concierge.agent.mcp.session import Session
from concierge.agent.mcp.trimmed import identifier, trimmed
from concierge.errors import ConfigError, ToolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import TextIO

    from concierge.config.keys import McpServer


@contextlib.asynccontextmanager
async def opened(
    servers: Mapping[str, McpServer],
    *,
    folder: Path,
    environ: Mapping[str, str],
    own: Collection[str],
    say: Callable[[str], None],
) -> AsyncIterator[list[Foreign]]:
    """Give the tools of all servers that start; what does not is said, and the run goes on without it.

    Args:
        servers: By the names that the configuration gives them.
        folder: Where their commands are started.
        environ: The variables that a server may be given by name.
        own: Names of tools that are taken.
        say: Takes one line.

    Raises:
        ConfigError: A variable that a server is to get is not set.
    """
    found: list[Foreign] = []
    async with contextlib.AsyncExitStack() as stack:
        for name, server in servers.items():
            heard = stack.enter_context(_heard())
            session = Session(name, _transport(name, server, folder, environ, heard), timeout_s=server.timeout_s)
            stack.push_async_callback(session.close)
            try:
                listed = await session.open()
            except ToolError as error:
                say(f"{str(error).rstrip('.')}; the run goes on without its tools.{_last_line(heard)}")
                continue
            for tool in listed:
                if server.tools is None or tool.name in server.tools:
                    taken = {*own, *(each.name for each in found)}
                    spec = trimmed(identifier(tool.name, server=name, taken=taken), tool.description, tool.input_schema)
                    found.append(Foreign(spec, functools.partial(session.call, tool.name)))
            for missing in set(server.tools or ()) - {tool.name for tool in listed}:
                say(f"The MCP server {name} has no tool {missing!r}.")
        yield found


def _transport(
    name: str, server: McpServer, folder: Path, environ: Mapping[str, str], heard: TextIO
) -> AbstractAsyncContextManager[Any]:
    if server.command is not None:
        lent = {variable: _variable(name, variable, environ) for variable in server.env_from}
        env = lent | {variable: text.get_secret_value() for variable, text in server.env}
        program, *arguments = server.command
        # What it writes beside its answers is kept, for the line that says why it does not start.
        return stdio_client(StdioServerParameters(command=program, args=arguments, env=env, cwd=folder), errlog=heard)
    token = server.token_env and _variable(name, server.token_env, environ)
    return _http(server, {"Authorization": f"Bearer {token}"} if token else {})


@contextlib.asynccontextmanager
async def _http(server: McpServer, headers: Mapping[str, str]) -> AsyncIterator[Any]:
    assert server.url is not None
    timeout = httpx2.Timeout(server.timeout_s)
    async with (
        # No proxy stands between this machine and itself.
        httpx2.AsyncClient(headers=headers, timeout=timeout, trust_env=not server.loopback) as client,
        streamable_http_client(server.url, http_client=client) as streams,
    ):
        yield streams


def _variable(server: str, variable: str, environ: Mapping[str, str]) -> str:
    value = environ.get(variable)
    if value is None:
        raise ConfigError(
            f"The MCP server {server} is to get {variable}, which is not set.",
            where=f"mcp.servers.{server}",
            hint="Set that variable, or take the server out of the configuration.",
        )
    return value


@contextlib.contextmanager
def _heard() -> Iterator[TextIO]:
    """Give a file for what a server writes beside its answers."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        yield file


def _last_line(heard: TextIO) -> str:
    heard.seek(0)
    lines = [line.strip() for line in heard.read()[-4000:].splitlines() if line.strip()]
    return f" It wrote: {lines[-1][:200]}" if lines else ""
