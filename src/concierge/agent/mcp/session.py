"""One server of the Model Context Protocol, as long as a run: opened, asked and closed in a task of its own.

Its SDK demands that one task does all three. What breaks in there stays in there: the run hears of it as the error of
one tool.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from mcp import Client

from concierge.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from mcp_types import CallToolResult, Tool

_T = TypeVar("_T")

CLOSE_S = 10.0
"""The SDK asks a server to end, waits, and kills it; this is longer than all of that."""
PAGES = 20
"""A server that lists its tools in more has no end of them."""
SPARE_S = 1.0
"""The SDK's own timeout comes first: it says more."""

Asked = tuple[str, "Mapping[str, Any]", "asyncio.Future[CallToolResult]"]


class Session:
    """A server that is being talked to; ``name`` is what the configuration calls it."""

    def __init__(self, name: str, transport: AbstractAsyncContextManager[Any], *, timeout_s: float) -> None:
        self._name, self._transport, self._timeout_s = name, transport, timeout_s
        self._asked: asyncio.Queue[Asked | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> list[Tool]:
        """Connect and return its tools.

        Raises:
            ToolError: It does not start, does not answer, or speaks something else.
        """
        listed: asyncio.Future[list[Tool]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._talk(listed), name=f"mcp {self._name}")
        return await self._answer(listed, self._timeout_s, "did not start")

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Call a tool and return what it answers, as text.

        Raises:
            ToolError: It failed, the server is gone, or does not answer.
        """
        answer: asyncio.Future[CallToolResult] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((tool, arguments, answer))
        result = await self._answer(answer, self._timeout_s + SPARE_S, "is gone")
        text = told(result)
        if result.is_error:
            raise ToolError(text or "It failed, and does not say why.")
        return text

    async def close(self) -> None:
        """End it, whatever state it is in."""
        if self._task is None:
            return
        self._asked.put_nowait(None)
        await asyncio.wait({self._task}, timeout=CLOSE_S)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task

    async def _answer(self, answer: asyncio.Future[_T], seconds: float, ended: str) -> _T:
        assert self._task is not None
        either: set[asyncio.Future[Any]] = {answer, self._task}
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        if not self._task.done():
            self._task.cancel()
            raise ToolError(f"The MCP server {self._name} did not answer within {seconds:g} s, and is stopped.")
        broke = None if self._task.cancelled() else self._task.exception()
        raise ToolError(f"The MCP server {self._name} {ended}{f': {first_words(broke)}' if broke else ''}.")

    async def _talk(self, listed: asyncio.Future[list[Tool]]) -> None:
        async with Client(self._transport, read_timeout_seconds=self._timeout_s) as client:
            found = await _tools(client)
            if not listed.cancelled():
                listed.set_result(found)
            while (asked := await self._asked.get()) is not None:
                name, arguments, answer = asked
                try:
                    result = await client.call_tool(name, dict(arguments))
                except Exception as error:  # noqa: BLE001  # whatever it is, it is this call's
                    if not answer.cancelled():
                        answer.set_exception(ToolError(f"The MCP server {self._name}: {first_words(error)}"))
                else:
                    if not answer.cancelled():
                        answer.set_result(result)


async def _tools(client: Client) -> list[Tool]:
    found: list[Tool] = []
    cursor = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found


def told(result: CallToolResult) -> str:
    """Return an answer as text: what is no text is named."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return str(result.structured_content)
    return "\n".join(parts)


def _part(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type}, {len(base64.b64decode(block.data, validate=False))} bytes, not shown]"
        case "resource_link":
            return f"[{block.uri}]"
        case "resource" if hasattr(block.resource, "text"):
            return str(block.resource.text)
        case kind:
            return f"[{kind}, not shown]"


def first_words(error: BaseException | None) -> str:
    """Return the first cause of an error in a few words: task groups wrap what they raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
