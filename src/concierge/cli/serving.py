"""Construct the HTTP API and serve it."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.river import wiring

if TYPE_CHECKING:
    from concierge.agent.events import RunResult
    from concierge.agent.journal import Subscriber
    from concierge.agent.runs import RunRecord, RunSummary
    from concierge.agent.task import Limits
    from concierge.config import Config
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
        mouth.endpoint(None)
    token = chosen.get_secret_value() if chosen else secrets.token_urlsafe(24)
    app = create_app(mouth, token=token, hosts=(config.api.host,))

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

    @property
    def config(self) -> Config:
        return self._parts.config

    def endpoint(self, model: str | None) -> Endpoint:
        parts = self._parts
        if model is not None:
            parts = replace(parts, config=replace(self.config, llm=replace(self.config.llm, model=model)))
        if not self.config.llm.local_llm_ensure_available:
            from concierge.server.look.listing import endpoint

            return endpoint(parts.config.llm, model=wiring.named_model(parts), environ=os.environ)
        served = wiring.serve(parts)
        self._tools[served.endpoint.model] = served.tools
        return served.endpoint

    async def run(self, task: str, *, endpoint: Endpoint, limits: Limits, on_event: Subscriber) -> RunResult:
        from concierge.agent.task import Task

        tools = self._tools.get(endpoint.model, True)
        temperature = self.config.llm.temperature
        told = Task(task, endpoint.model, limits=limits, offer_tools=tools, temperature=temperature)
        return await wiring.converse(self._parts, endpoint, told, on_event)

    def runs(self, *, limit: int) -> list[RunSummary]:
        from concierge.agent.runs import list_runs

        return list_runs(self.config.workspace_root, limit=limit)

    def read_run(self, run_id: str) -> RunRecord:
        from concierge.agent.runs import read_run

        return read_run(self.config.workspace_root, run_id)
