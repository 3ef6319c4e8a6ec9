"""A task that is run against an endpoint, in a run directory of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from concierge.errors import ReplyError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Unpack

    from concierge.agent.events import RunResult
    from concierge.agent.journal import Subscriber
    from concierge.agent.task import Task
    from concierge.chat.client import OpenAICompatibleChatClient
    from concierge.chat.port import ChatOptions, Delta, Message, Reply
    from concierge.endpoint import Endpoint
    from concierge.river.parts import Parts


def client(parts: Parts, endpoint: Endpoint) -> OpenAICompatibleChatClient:
    """Return a client for the endpoint that waits as long as the configuration says, and holds its server's lease."""
    from concierge.chat.client import OpenAICompatibleChatClient
    from concierge.server.leases import Lease

    class Leased(OpenAICompatibleChatClient):
        """Keeps others from stopping a server of ours while it asks it, and says how one died that it was asking."""

        async def chat(self, messages: Sequence[Message], model: str, **options: Unpack[ChatOptions]) -> Reply:
            try:
                return await super().chat(messages, model, **options)
            except (TransportError, ReplyError) as error:
                if (died := await asyncio.to_thread(lease.died)) is not None:
                    raise died from error
                raise

        async def aclose(self) -> None:
            await super().aclose()
            lease.release()

    lease, llm = Lease(parts.home), parts.config.llm
    lease.join(endpoint)
    return Leased(endpoint, connect_timeout_s=llm.connect_timeout_s, read_timeout_s=llm.read_timeout_s)


async def converse(
    parts: Parts,
    endpoint: Endpoint,
    task: Task,
    *,
    subscribers: Collection[Subscriber],
    on_delta: Callable[[Delta], None] | None,
) -> RunResult:
    """Run a task against an endpoint.

    Raises:
        RunError: The run's directory cannot be made or written.
        CancelledError: The run was cancelled; its journal says so.
    """
    from concierge.agent.session import run_task

    async with client(parts, endpoint) as chat:
        return await run_task(
            chat,
            task,
            workspace_root=parts.config.workspace_root,
            subscribers=subscribers,
            secrets=endpoint.secrets,
            on_delta=on_delta,
            versions=_versions(parts, endpoint),
        )


def _versions(parts: Parts, endpoint: Endpoint) -> dict[str, str]:
    """Return what answered, for the journal, where it is ours to know."""
    current = parts.generations.current() if endpoint.owned else None
    if current is None or current.spec.model != endpoint.model:
        return {}
    return {"engine": current.spec.build, "model_sha256": current.spec.model_sha256}
