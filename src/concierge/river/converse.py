"""A task that is run against an endpoint, in a run directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from concierge.chat.client import OpenAICompatibleChatClient
from concierge.errors import ConfigError, ReplyError, TransportError
from concierge.server.leases import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from pathlib import Path
    from typing import Unpack

    from concierge.agent.events import RunResult
    from concierge.agent.foreign import Foreign
    from concierge.agent.going_on import Past
    from concierge.agent.journal import Subscriber
    from concierge.agent.place import Shell
    from concierge.agent.task import Task
    from concierge.chat.port import ChatOptions, Delta, Message, Reply
    from concierge.config.keys import McpServer
    from concierge.endpoint import Endpoint
    from concierge.errors import ServerError
    from concierge.river.parts import Parts


class Client(OpenAICompatibleChatClient):
    """Holds the lease of a server of ours while it is open, and says how one ended that does not answer any more.

    Args:
        held: Further leases of this program: one may know a server that was gone before this client came.
    """

    def __init__(self, parts: Parts, endpoint: Endpoint, held: Collection[Lease]) -> None:
        llm = parts.config.llm
        super().__init__(endpoint, connect_timeout_s=llm.connect_timeout_s, read_timeout_s=llm.read_timeout_s)
        self._lease, self._held = Lease(parts.home), held
        self._lease.join(endpoint)

    async def chat(self, messages: Sequence[Message], model: str, **options: Unpack[ChatOptions]) -> Reply:
        try:
            return await super().chat(messages, model, **options)
        except (TransportError, ReplyError) as error:
            if (died := await asyncio.to_thread(self._died)) is not None:
                raise died from error
            raise

    def _died(self) -> ServerError | None:
        url = self._endpoint.base_url
        mine = [lease for lease in (self._lease, *self._held) if lease.record and lease.record.base_url == url]
        return next((died for lease in mine if (died := lease.died())), None)

    async def aclose(self) -> None:
        await super().aclose()
        self._lease.release()


async def converse(
    parts: Parts,
    endpoint: Endpoint,
    task: Task,
    *,
    inside: Path | None,
    past: Past | None,
    subscribers: Collection[Subscriber],
    on_delta: Callable[[Delta], None] | None,
    leases: Collection[Lease],
) -> RunResult:
    """Run a task against an endpoint.

    Raises:
        RunError: The run's directory cannot be made or written.
        CancelledError: The run was cancelled; its journal says so.
    """
    from concierge.agent.session import run_task

    shell_in = await _shells(parts, task.text) if task.offer_tools else lambda _: None
    servers = parts.config.mcp if task.offer_tools else {}
    async with _tools_of(servers, parts) as foreign, Client(parts, endpoint, leases) as chat:
        return await run_task(
            chat,
            task,
            workspace_root=parts.config.workspace_root,
            subscribers=subscribers,
            secrets=(*endpoint.secrets, *(text for each in servers.values() for text in each.secrets(parts.environ))),
            on_delta=on_delta,
            versions=_versions(parts, endpoint),
            inside=inside,
            past=past,
            shell_in=shell_in,
            foreign=foreign,
        )


@contextlib.asynccontextmanager
async def _tools_of(servers: Mapping[str, McpServer], parts: Parts) -> AsyncIterator[Sequence[Foreign]]:
    """Give the tools of MCP servers.

    Raises:
        ConfigError: What speaks to them is not installed, or a variable for one is not set.
    """
    if not servers:
        yield ()
        return
    try:
        from concierge.agent.mcp.servers import opened
    except ImportError as error:
        raise ConfigError(
            f"`mcp.servers` is set, and {error.name} is not installed, which speaks to them.",
            where="mcp.servers",
            hint="Install concierge with its extra, `concierge[mcp]` (docs/mcp.md).",
        ) from None
    from concierge.agent.protocols.port import OWN

    async with opened(servers, folder=parts.folder, environ=parts.environ, own=OWN, say=parts.say) as foreign:
        yield foreign


async def _shells(parts: Parts, text: str) -> Callable[[Path], Shell | None]:
    """Return what makes the shell of a folder; what it makes is None where nothing on this machine confines one."""
    from concierge.agent import confined
    from concierge.agent.sandbox import search

    sandbox = await search.find()
    if sandbox is None:
        parts.say(f"There is no shell: nothing here confines one. {search.why_not().splitlines()[0]}")
        return lambda _: None
    return lambda folder: confined.shell_in(
        sandbox,
        folder,
        invisible=(parts.home.root, parts.config.workspace_root.absolute()),
        network=parts.config.run.shell_network,
        say=parts.say,
        task=text,
    )


def _versions(parts: Parts, endpoint: Endpoint) -> dict[str, str]:
    """Return what answered, for the journal, where it is ours to know."""
    current = parts.generations.current() if endpoint.owned else None
    if current is None or current.spec.model != endpoint.model:
        return {}
    return {"engine": current.spec.build, "model_sha256": current.spec.model_sha256}
