"""A server that serves what is asked for: found, adopted or started."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.catalog import reference
from concierge.errors import ConciergeError, ConfigError

if TYPE_CHECKING:
    from concierge.config.keys import Llm
    from concierge.deploy.generation import Generation, ServerSpec
    from concierge.endpoint import Endpoint
    from concierge.plan.words import Running
    from concierge.river.parts import Parts
    from concierge.server.leases import Lease


def serve(parts: Parts, lease: Lease) -> Endpoint:
    """Make sure that a server serves what is asked for, and hold its lease if it is ours.

    Raises:
        ConciergeError: Any error of planning, fetching or starting.
    """
    from concierge.server.ensure import ensure

    known = parts.known()
    made: list[Generation] = []

    def prepare() -> ServerSpec:
        made.append(parts.generations.switch(known) if known else parts.applier.apply())
        return made[-1].spec

    endpoint = ensure(
        parts.config.llm,
        model=known.spec.model if known else named_model(parts),
        prepare=prepare,
        home=parts.home,
        say=parts.say,
        environ=parts.environ,
        lease=lease,
        room=lambda: _room(parts),
    )
    return replace(endpoint, tools=_tools(parts, endpoint.model, (*made, known))) if endpoint.owned else endpoint


def _room(parts: Parts) -> bool:
    """Return whether what is asked for fits into the memory that is free now, beside a server that is in use."""
    from concierge.machine.budget import budget

    try:
        decided = parts.plan(parts.running())
    except ConciergeError:
        return False
    if decided.estimate is None or decided.accelerator is None:
        return False
    need, free = decided.estimate.memory, budget(parts.machine, decided.accelerator).now
    return need is not None and free is not None and need < free


def named_model(parts: Parts) -> str:
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


def here(parts: Parts) -> Running:
    """Return what is here already; on another computer, which only its bundle tells of, nothing is."""
    from concierge.plan.words import Running

    return parts.running(endpoint=_adoptable(parts)) if parts.bundle is None else Running()


def _adoptable(parts: Parts) -> Endpoint | None:
    """Return the configured server on this machine when it is up and serves the model."""
    from concierge.server.look import look

    llm = parts.config.llm
    wanted = reference.parse(llm.model)
    if not llm.address.loopback or isinstance(wanted, reference.Hub | reference.Local):
        return None
    name = llm.model if llm.model != "auto" else parts.plan(parts.running()).model_name
    sight = look(llm.endpoint(model=name, environ=parts.environ))
    return sight.endpoint if sight.serves else None


def _tools(parts: Parts, name: str, generations: tuple[Generation | None, ...]) -> bool:
    """Return what is known of the tools of a model that we serve."""
    for generation in generations:
        if generation is not None and generation.spec.model == name:
            return generation.tools
    model = parts.catalog.model(name)
    return model is None or model.chat.tools
