"""Whole tasks on a folder of the user's, through the command line, the real engine and models that call tools."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.agent.sandbox import search

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

LIST = "bread\nbutter\napples\n"
LONGEST_S = 900
"""Half a gigabyte may have to come first."""


class Concierge:
    """The command, with a home that is kept between sessions, in a folder of its own."""

    def __init__(self, home: Path, folder: Path, model: str) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
        settings = {"MODEL": model, "CONTEXT": "8192", "MEASURE": "false"}
        self._environ = kept | {f"CONCIERGE_LLM_{key}": value for key, value in settings.items()}
        self._environ["CONCIERGE_HOME"] = str(home)
        self._folder = folder

    def __call__(self, *words: str) -> str:
        """Run it, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "concierge", *words],
            env=self._environ,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def concierge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Concierge]:
    if asyncio.run(search.find()) is None:
        pytest.skip(search.why_not())
    assert request.config.cache is not None
    command = Concierge(request.config.cache.mkdir("concierge-home"), tmp_path, request.param)
    try:
        yield command
    finally:
        command("down", "--drain", "0")


@pytest.mark.parametrize(
    "concierge",
    [
        pytest.param("qwen2.5-coder-0.5b", id="0.5b"),
        pytest.param("qwen2.5-coder-1.5b", id="1.5b", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_file_is_edited_shown_and_put_back(concierge: Concierge, tmp_path: Path) -> None:
    folder = tmp_path / "home work"
    folder.mkdir()
    file = folder / "shopping list.txt"
    file.write_text(LIST)
    task = 'Add the line "eggs" at the end of "shopping list.txt".'
    concierge("run", "--in", str(folder), "--temperature", "0", task)
    assert file.read_text() == f"{LIST}eggs\n"
    assert "+eggs" in concierge("runs", "diff", "last").splitlines()
    concierge("runs", "undo", "last")
    assert file.read_text() == LIST
