"""Construct the HTTP API and serve it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.agent.journal import Subscriber
    from concierge.agent.task import RunResult, Task
    from concierge.endpoint import Endpoint
    from concierge.river.river import River


def serve(river: River) -> None:
    """Make sure that a local LLM answers, then serve the API until a signal.

    Raises:
        ConciergeError: The LLM cannot be had, or the address cannot be listened on.
    """
    from concierge.api import server
    from concierge.api.app import create_app

    config = river.config
    chosen = config.api.token
    server.refuse_exposure(config.api.host, token_chosen=chosen is not None)
    if config.llm.local_llm_ensure_available:
        river.up()
    token = chosen.get_secret_value() if chosen else secrets.token_urlsafe(24)

    async def run_task(endpoint: Endpoint, task: Task, subscriber: Subscriber) -> RunResult:
        return await river.run(task.text, endpoint=endpoint, limits=task.limits, on_event=subscriber)

    app = create_app(
        run_task=run_task,
        ensure=river.endpoint,
        connect=river.endpoint,
        ensure_available=config.llm.local_llm_ensure_available,
        token=token,
        workspace_root=config.workspace_root,
        limits=config.run,
        hosts=(config.api.host,),
    )

    def ready(url: str) -> None:
        river.say(f"Serving {url}")
        if chosen is None:
            river.say(f"Bearer token for this start: {token}")

    server.serve(app, host=config.api.host, port=config.api.port, token_chosen=chosen is not None, on_ready=ready)
