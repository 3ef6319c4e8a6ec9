"""Two servers that others wrote, from the package index, in an environment of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.agent.mcp.servers import opened
from concierge.config.keys import McpServer
from concierge.processes import follow

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="names paths")]

SERVERS = ("mcp-server-time==2026.10.19", "mcp-server-git==2026.10.19")


@pytest.fixture(scope="module")
def programs(request: pytest.FixtureRequest) -> Path:
    """The folder with their programs, made once."""
    assert request.config.cache is not None
    place: Path = request.config.cache.mkdir("concierge-mcp-servers")
    if not (place / "bin" / "mcp-server-git").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", *SERVERS]
        assert follow(pip, seconds=600).exit == 0
    return place / "bin"


def git(repository: Path, *words: str) -> None:
    person = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost"]
    subprocess.run(["git", *person, *words], cwd=repository, check=True, timeout=60)


def test_the_time_and_a_repository_are_asked_for(programs: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "notes.txt").write_text("one\n", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "Write a note")
    (tmp_path / "notes.txt").write_text("two\n", encoding="utf-8")
    servers = {
        "time": McpServer(command=(str(programs / "mcp-server-time"), "--local-timezone", "Europe/Rome")),
        "git": McpServer(
            command=(str(programs / "mcp-server-git"), "--repository", str(tmp_path)), tools=("git_status", "git_log")
        ),
    }

    async def body(said: list[str]) -> list[str]:
        async with opened(servers, folder=tmp_path, environ=os.environ, own=(), say=said.append) as found:
            by_name = {tool.name: tool for tool in found}
            assert list(by_name) == ["get_current_time", "convert_time", "git_status", "git_log"]
            return [
                await by_name["get_current_time"].call('{"timezone": "Asia/Tokyo"}'),
                await by_name["git_status"].call(f'{{"repo_path": "{tmp_path}"}}'),
                await by_name["git_log"].call(f'{{"repo_path": "{tmp_path}", "max_count": 1}}'),
            ]

    said: list[str] = []
    time, status, log = asyncio.run(body(said))
    assert said == []
    assert "+09:00" in time
    assert "notes.txt" in status
    assert "Write a note" in log
