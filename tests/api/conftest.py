from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concierge.api.app import create_app
from tests.rivers import FakeRiver

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

TOKEN = "a-token-of-some-length"

Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


class Api:
    """The API of a scripted application."""

    token = TOKEN

    def __init__(self, root: Path) -> None:
        self.root = root
        self.river = FakeRiver(root)

    def app(self, **more: Any) -> FastAPI:
        return create_app(self.river, **{"token": TOKEN, **more})

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
