"""Construct the HTTP API and serve it."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.river import wiring

if TYPE_CHECKING:
    from concierge.agent.journal import Subscriber
    from concierge.agent.task import RunResult, Task
    from concierge.endpoint import Endpoint
    from concierge.river.stack import Stack


def serve(parts: Stack) -> None:
    """Make sure that a local LLM answers, then serve the API until a signal.

    Raises:
        ConciergeError: The LLM cannot be had, or the address cannot be listened on.
    """
    from concierge.api import server
    from concierge.api.app import create_app

    config = parts.config
    chosen = config.api.token
    server.refuse_exposure(config.api.host, token_chosen=chosen is not None)
    mouth = _Mouth(parts)
    if config.llm.local_llm_ensure_available:
        mouth.ensure(None)
    token = chosen.get_secret_value() if chosen else secrets.token_urlsafe(24)
    app = create_app(
        run_task=mouth.run_task,
        ensure=mouth.ensure,
        connect=mouth.connect,
        ensure_available=config.llm.local_llm_ensure_available,
        token=token,
        workspace_root=config.workspace_root,
        limits=config.run,
        hosts=(config.api.host,),
    )

    def ready(url: str) -> None:
        parts.say(f"Serving {url}")
        if chosen is None:
            parts.say(f"Bearer token for this start: {token}")

    server.serve(app, host=config.api.host, port=config.api.port, token_chosen=chosen is not None, on_ready=ready)


class _Mouth:
    """What the API calls: the same river as the command line's."""

    def __init__(self, parts: Stack) -> None:
        self._parts = parts
        self._tools: dict[str, bool] = {}

    def ensure(self, model: str | None) -> Endpoint:
        served = wiring.serve(self._for(model))
        self._tools[served.endpoint.model] = served.tools
        return served.endpoint

    def connect(self, model: str | None) -> Endpoint:
        parts = self._for(model)
        return parts.config.llm.endpoint(model=wiring.named_model(parts), environ=os.environ)

    async def run_task(self, endpoint: Endpoint, task: Task, subscriber: Subscriber) -> RunResult:
        llm = self._parts.config.llm
        told = replace(task, offer_tools=self._tools.get(endpoint.model, True), temperature=llm.temperature)
        return await wiring.converse(self._parts, endpoint, told, subscriber)

    def _for(self, model: str | None) -> Stack:
        if model is None:
            return self._parts
        config = self._parts.config
        return replace(self._parts, config=replace(config, llm=replace(config.llm, model=model)))
