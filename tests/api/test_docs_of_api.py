from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concierge.api import app, guard, jobs, server
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, Usage

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Api

DOCS = Path(__file__).parents[2] / "docs"


def session(token: str) -> list[tuple[list[str], Any]]:
    """Return the words of every command in the documented session, with the answer below it."""
    block = re.search(r"```console\n(.*?)```", (DOCS / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    steps = (step.partition("\n") for step in block[1].split("$ ")[1:])
    return [(shlex.split(command.replace("$TOKEN", token)), json.loads(answer)) for command, _, answer in steps]


def shape(value: Any) -> Any:
    """Return what two answers share when only times, names and places differ."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    return type(value).__name__


async def send(client: httpx.AsyncClient, words: list[str]) -> httpx.Response:
    """Do what curl would do with these words."""
    *options, url = words[1:]
    headers, body = {}, None
    while options:
        match options.pop(0):
            case "-s":
                pass
            case "-H":
                name, _, value = options.pop(0).partition(": ")
                headers[name] = value
            case "--json":
                headers["Content-Type"], body = "application/json", options.pop(0)
            case other:
                raise AssertionError(other)
    return await client.request("POST" if body else "GET", url, headers=headers, content=body)


def test_the_documented_session_is_what_happens(api: Api) -> None:
    api.river.chat = FakeChat([Reply("The capital of France is Paris.", usage=Usage(42, 8)), "Madrid."])
    steps = session(api.token)
    assert len(steps) == 5

    async def scenario(client: httpx.AsyncClient) -> None:
        del client.headers["Authorization"]
        for words, answer in steps:
            got = (await send(client, words)).json()
            assert shape(got) == shape(answer), words
            for exact in ("status", "text", "task", "usage", "steps", "what", "error", "exit_code"):
                assert got.get(exact) == answer.get(exact), words

    api.play(scenario)


@pytest.mark.promise("L28", "L29")
@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("runs at once", app.MOST_RUNNING),
        ("body of a request", guard.BODY_BYTES),
        ("stopping: runs write their end", jobs.STOP_SECONDS),
        ("stopping: requests are answered", server.GRACE_SECONDS),
    ],
)
def test_every_bound_of_the_api_is_written_down_as_it_is(bound: str, value: float) -> None:
    text = (DOCS / "limits.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {re.escape(bound)} \| {value:,.0f}(?: s| bytes)? \|", text, re.MULTILINE)
