"""The parts joined into the river: a server that serves what is asked for, and a task that is run against it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.catalog import reference
from concierge.errors import ConciergeError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.agent.journal import Subscriber
    from concierge.agent.task import RunResult, Task
    from concierge.chat.port import Delta
    from concierge.config import Llm
    from concierge.deploy.generation import Generation
    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint
    from concierge.machine.types import Finding
    from concierge.plan.words import Plan, Running
    from concierge.river.stack import Stack


@dataclass
class Served:
    """An endpoint, and what the agent must know of the model behind it."""

    endpoint: Endpoint
    tools: bool
    started: bool


def serve(parts: Stack) -> Served:
    """Make sure that a server serves what is asked for.

    Raises:
        ConciergeError: Any error of planning, fetching or starting.
    """
    from concierge.server.ensure import ensure
    from concierge.server.record import RecordFile

    llm = parts.config.llm
    known = parts.known()
    made: list[Generation] = []

    def prepare() -> ServerSpec:
        made.append(parts.generations.switch(known) if known else parts.apply())
        return made[-1].spec

    record = RecordFile(parts.home)
    before = record.read()
    endpoint = ensure(
        llm,
        model=known.spec.model if known else named_model(parts),
        prepare=prepare,
        home=parts.home,
        say=parts.say,
        environ=os.environ,
    )
    after = record.read() if endpoint.owned else None
    started = after is not None and (before is None or before.launch != after.launch)
    return Served(endpoint, _tools(parts, endpoint, (*made, known)), started)


def named_model(parts: Stack) -> str:
    """Return the name to look for on servers that run already, planning only when nothing else can tell.

    Raises:
        ConfigError: Somebody else's server is configured, and no name that it knows.
        NothingSuitableError: No model suits this machine.
    """
    llm = parts.config.llm
    if isinstance(reference.parse(llm.model), reference.Named):
        return llm.model
    if not concierge_starts(llm):
        raise ConfigError(
            f"`llm.model` is {llm.model}, and the server at {llm.address} is not ours to choose a model for.",
            where="llm.model",
            hint="Set `llm.model` to the name that this server knows.",
        )
    return parts.plan(parts.running()).model_name


def concierge_starts(llm: Llm) -> bool:
    """Tell whether concierge may fetch and start an engine of its own for this configuration."""
    return (
        not llm.never_started
        and llm.local_llm_ensure_available
        and not llm.local_llm_start_cmd
        and llm.address.loopback
    )


def adoptable(parts: Stack) -> Endpoint | None:
    """Return the configured server on this machine when it is up and serves the model."""
    from concierge.server.look import look

    llm = parts.config.llm
    wanted = reference.parse(llm.model)
    if not llm.address.loopback or isinstance(wanted, reference.Hub | reference.Local):
        return None
    name = llm.model if llm.model != "auto" else parts.plan(parts.running()).model_name
    sight = look(llm.endpoint(model=name, environ=os.environ))
    return sight.endpoint if sight.serves else None


def here(parts: Stack) -> Running:
    """Return what is here already; on another computer, which only its bundle tells of, nothing is."""
    from concierge.plan.words import Running

    return parts.running(endpoint=adoptable(parts)) if parts.bundle is None else Running()


def diagnose(parts: Stack) -> tuple[Finding, ...]:
    """Return what is wrong with the machine, or with what the plan relies on; why there is no plan is a finding too."""
    from concierge.plan.doctor import diagnose as judge
    from concierge.plan.words import Running

    running = Running()
    try:
        running = here(parts)
        decided: Plan | ConciergeError = parts.plan(running)
    except ConciergeError as error:
        decided = error
    return judge(parts.machine, parts.config.llm, decided, running)


def _tools(parts: Stack, endpoint: Endpoint, generations: tuple[Generation | None, ...]) -> bool:
    """Return whether to offer tools: what the catalogue knows of the model, else yes."""
    for generation in generations:
        if generation is not None and endpoint.owned and generation.spec.model == endpoint.model:
            return generation.tools
    model = parts.catalog.model(endpoint.model) if endpoint.owned else None
    return model is None or model.chat.tools


def _unseen(_: Delta) -> None:
    """Stream all the same: the server then sees at once when nobody listens any more."""


async def converse(
    parts: Stack,
    endpoint: Endpoint,
    task: Task,
    *subscribers: Subscriber,
    on_delta: Callable[[Delta], None] = _unseen,
) -> RunResult:
    """Run a task against an endpoint, in a run directory of its own.

    Raises:
        RunError: The run's directory cannot be made or written.
        CancelledError: The run was cancelled; its journal says so.
    """
    from concierge.agent.session import run_task
    from concierge.chat.client import OpenAICompatibleChatClient

    llm = parts.config.llm
    async with OpenAICompatibleChatClient(
        endpoint, connect_timeout_s=llm.connect_timeout_s, read_timeout_s=llm.read_timeout_s
    ) as chat:
        return await run_task(
            chat,
            task,
            workspace_root=parts.config.workspace_root,
            subscribers=subscribers,
            secrets=endpoint.secrets,
            on_delta=on_delta,
            versions=_versions(parts, endpoint),
        )


def _versions(parts: Stack, endpoint: Endpoint) -> dict[str, str]:
    """Return what answered, for the journal, where it is ours to know."""
    current = parts.generations.current() if endpoint.owned else None
    if current is None or current.spec.model != endpoint.model:
        return {}
    return {"engine": current.engine, "model_sha256": current.spec.model_sha256}
