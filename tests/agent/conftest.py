from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from concierge.agent.events import RunResult
from concierge.agent.session import run_task
from concierge.agent.task import Limits, Task

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.agent.events import Event
    from concierge.chat.port import ChatClient

Play = Callable[..., RunResult]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a task against a scripted model below ``tmp_path`` and return its result."""

    def play(chat: ChatClient, *, limits: Limits | None = None, offer_tools: bool = True, **more: Any) -> RunResult:
        task = Task("Do it.", "tiny", limits=limits or Limits(), offer_tools=offer_tools)
        running = run_task(chat, task, workspace_root=tmp_path, **more)
        return asyncio.run(asyncio.wait_for(running, 5))

    return play


@pytest.fixture
def seen() -> list[Event]:
    """A list whose ``append`` is a subscriber."""
    return []
