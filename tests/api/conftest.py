from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concierge.agent.session import run_task
from concierge.api.app import create_app
from concierge.chat.fake import FakeChat
from concierge.endpoint import Endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from concierge.agent.journal import Subscriber
    from concierge.agent.task import RunResult, Task

TOKEN = "a-token-of-some-length"

Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


class Api:
    """The API with scripted collaborators: what ``ensure`` was asked for, and what the model says."""

    token = TOKEN

    def __init__(self, root: Path) -> None:
        self.root = root
        self.chat = FakeChat(["Paris."] * 20)
        self.ensured: list[str | None] = []
        self.connected: list[str | None] = []
        self.ran: list[Task] = []

    def ensure(self, model: str | None) -> Endpoint:
        self.ensured.append(model)
        return Endpoint("http://127.0.0.1:1/v1", model or "tiny")

    def connect(self, model: str | None) -> Endpoint:
        self.connected.append(model)
        return Endpoint("http://127.0.0.1:1/v1", model or "tiny")

    async def run_task(self, endpoint: Endpoint, task: Task, subscriber: Subscriber) -> RunResult:
        self.ran.append(task)
        return await run_task(self.chat, task, workspace_root=self.root, subscribers=[subscriber])

    def app(self, **more: Any) -> FastAPI:
        settings: dict[str, Any] = {
            "run_task": self.run_task, "ensure": self.ensure, "connect": self.connect, "ensure_available": True,
            "token": TOKEN, "workspace_root": self.root,
        }  # fmt: skip
        return create_app(**(settings | more))

    def play(self, scenario: Scenario, **more: Any) -> None:
        """Run a scenario with a client that knows the token, then shut the application down."""

        async def body() -> None:
            app = self.app(**more)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            async with app.router.lifespan_context(app), client:
                await scenario(client)

        asyncio.run(asyncio.wait_for(body(), 10))


@pytest.fixture
def api(tmp_path: Path) -> Api:
    return Api(tmp_path)
