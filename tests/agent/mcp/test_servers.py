"""Real MCP servers, over their pipes and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from concierge.agent.arguments import BadCallError
from concierge.agent.mcp.servers import opened
from concierge.agent.place import Place
from concierge.agent.tools import Tools
from concierge.agent.workspace import Workspace
from concierge.config.keys import McpServer
from concierge.config.kinds import Secret
from concierge.errors import ConfigError, ToolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from concierge.agent.foreign import Foreign

PROGRAM = str(Path(__file__).with_name("server.py"))
THINGS = McpServer(command=(sys.executable, PROGRAM), timeout_s=20)


@contextlib.asynccontextmanager
async def tools(
    servers: Mapping[str, McpServer], tmp_path: Path, said: list[str] | None = None, environ: Mapping[str, str] = {}
) -> AsyncIterator[dict[str, Foreign]]:
    heard: list[str] = [] if said is None else said
    async with opened(servers, folder=tmp_path, environ=environ, own={"read"}, say=heard.append) as found:
        yield {tool.name: tool for tool in found}


async def outcome(tool: Foreign, arguments: str = "{}") -> str:
    try:
        return await tool.call(arguments)
    except ToolError as error:
        return f"{type(error).__name__}: {error}"


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if PROGRAM in each.cmdline()]


def test_the_tools_of_a_server_are_named_so_that_every_spelling_of_a_call_can_hold_them(tmp_path: Path) -> None:
    async def body() -> list[str]:
        async with tools({"things": THINGS, "more": THINGS}, tmp_path) as found:
            return list(found)

    names = asyncio.run(body())
    assert names[:3] == ["add", "weather_of_today", "things_read"]
    assert names[8:10] == ["more_add", "more_weather_of_today"]
    assert len(set(names)) == 16


@pytest.mark.parametrize(
    ("tool", "arguments", "answer"),
    [
        ("add", '{"a": 1, "b": "2"}', "The sum is 3."),
        ("weather_of_today", '{"place": {"city": "Rome"}}', "21 C in Rome."),
        ("things_read", '"notes"', "notes of the server's"),
        ("add", '{"a": 1}', 'BadCallError: `b` is missing. Send for example {"a": …, "b": …}.'),
        ("add", '{"a": 1', 'BadCallError: The arguments are not complete JSON: {"a": 1. '),
        ("fail", "{}", "ToolError: Error executing tool fail"),
        ("picture", "{}", "[image, 3 bytes, not shown]"),
    ],
)
def test_a_call_is_answered_in_text_or_with_what_to_mend(
    tool: str, arguments: str, answer: str, tmp_path: Path
) -> None:
    async def body() -> str:
        async with tools({"things": THINGS}, tmp_path) as found:
            return await outcome(found[tool], arguments)

    assert asyncio.run(body()).startswith(answer)


def test_a_server_that_dies_costs_one_error_and_the_others_go_on(tmp_path: Path) -> None:
    async def body() -> list[str]:
        async with tools({"things": THINGS, "more": THINGS}, tmp_path) as found:
            calls = [("die", "{}"), ("add", '{"a": 1, "b": 1}'), ("more_add", '{"a": 1, "b": 1}')]
            return [await outcome(found[name], arguments) for name, arguments in calls]

    died, gone, other = asyncio.run(body())
    assert died == "ToolError: The MCP server things: Connection closed"
    assert gone.startswith("ToolError: The MCP server things")
    assert other == "The sum is 2."
    assert children() == []


def test_a_server_that_hangs_costs_its_timeout(tmp_path: Path) -> None:
    async def body() -> str:
        quick = McpServer(command=THINGS.command, timeout_s=3)
        async with tools({"things": quick}, tmp_path) as found:
            return await outcome(found["hang"])

    assert asyncio.run(body()) == "ToolError: The MCP server things: Request 'tools/call' timed out"
    assert children() == []


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (McpServer(command=("/no/such/program",)), "did not start: [Errno 2] No such file or directory"),
        (McpServer(command=(sys.executable, "-c", "raise SystemExit('no key')")), "It wrote: no key"),
        (McpServer(command=(sys.executable, "-c", "print('hello')")), "did not start: "),
        (McpServer(command=(sys.executable, "-c", "input(); input()"), timeout_s=1), "did not answer within 1 s"),
        (McpServer(url="http://127.0.0.1:9/mcp"), "did not start: "),
    ],
)
def test_a_server_that_does_not_start_is_said_and_the_run_goes_on(server: McpServer, why: str, tmp_path: Path) -> None:
    async def body(said: list[str]) -> list[str]:
        async with tools({"none": server, "things": THINGS}, tmp_path, said) as found:
            return list(found)

    said: list[str] = []
    assert "add" in asyncio.run(body(said))
    assert len(said) == 1
    assert why in said[0]
    assert "the run goes on without its tools." in said[0]


def test_a_run_that_is_cancelled_leaves_no_server_behind(tmp_path: Path) -> None:
    async def body() -> None:
        calling = asyncio.Event()

        async def run() -> None:
            async with tools({"things": THINGS}, tmp_path) as found:
                calling.set()
                await found["hang"].call("{}")

        task = asyncio.create_task(run())
        await asyncio.wait_for(calling.wait(), 20)
        assert len(children()) == 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(body())
    assert children() == []


def test_a_server_sees_the_variables_that_it_is_given_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    server = McpServer(command=THINGS.command, env=(("GIVEN", Secret("a")),), env_from=("LENT",))

    async def body() -> list[str]:
        async with tools({"things": server}, tmp_path, environ={"LENT": "b", "OTHER": "c"}) as found:
            names = ("GIVEN", "LENT", "OTHER", "AWS_SECRET_ACCESS_KEY")
            return [await found["variable"].call(f'{{"name": "{name}"}}') for name in names]

    assert asyncio.run(body()) == ["a", "b", "(not set)", "(not set)"]


def test_a_variable_that_is_not_set_is_an_error_before_anything_is_started(tmp_path: Path) -> None:
    async def body() -> None:
        async with tools({"things": McpServer(command=THINGS.command, env_from=("LENT",))}, tmp_path):
            pass

    with pytest.raises(ConfigError, match="The MCP server things is to get LENT, which is not set"):
        asyncio.run(body())


def test_only_the_tools_that_are_wanted_are_offered(tmp_path: Path) -> None:
    async def body(said: list[str]) -> list[str]:
        wanted = McpServer(command=THINGS.command, tools=("add", "subtract"))
        async with tools({"things": wanted}, tmp_path, said) as found:
            box = Tools(Place(tmp_path, Workspace(tmp_path)), list(found.values()))
            assert await box.call("add", '{"a": 2, "b": 2}') == "The sum is 4."
            with pytest.raises(BadCallError, match="Call one of: read, write, edit, list, search, add"):
                await box.call("subtract", "{}")
            return list(found)

    said: list[str] = []
    assert asyncio.run(body(said)) == ["add"]
    assert said == ["The MCP server things has no tool 'subtract'."]


@pytest.fixture
def address() -> Iterator[str]:
    """The server over HTTP, where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = subprocess.Popen(
        [sys.executable, PROGRAM, "http", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert started.stderr is not None
    with started, started.stderr:
        assert any("running on" in line for line in started.stderr)
        yield f"http://127.0.0.1:{port}/mcp"
        started.kill()


def test_a_server_is_reached_over_http_without_a_proxy(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = McpServer(url=address, token_env="TOKEN")

    async def body() -> str:
        async with tools({"things": server}, tmp_path, environ={**os.environ, "TOKEN": "t"}) as found:
            return await found["add"].call('{"a": 20, "b": 22}')

    assert asyncio.run(body()) == "The sum is 42."
