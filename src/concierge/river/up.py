"""A server that serves what is asked for: found, adopted or started."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.catalog import reference
from concierge.errors import ConciergeError, ConfigError, NothingSuitableError, StoreError, UnfitError

if TYPE_CHECKING:
    from concierge.deploy.generation import Generation
    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint
    from concierge.plan.words import Failed, Running
    from concierge.river.parts import Parts
    from concierge.server.leases import Lease


MEASURE_S = 20.0
"""How long the first measurement of a server may take."""


def serve(parts: Parts, lease: Lease, *, declared: bool = True) -> Endpoint:
    """Make sure that a server serves what is asked for, and hold its lease if it is ours.

    Unless what is ``declared`` is to be there, what runs is what answers where no model is named.

    Raises:
        ConciergeError: Any error of planning, fetching or starting.
    """
    from concierge.deploy import tidy

    if parts.named:
        parts.gate.settings()
        return named(parts, lease)
    known = parts.known()
    if not declared and (running := _running(parts, lease)) is not None:
        return running
    if declared:
        tidy.sweep(parts.home, parts.folder)
        _say_held(parts, known)
    with ExitStack() as stack:
        proven = _Rungs(parts, known, lease, stack).proven()
    if proven.generation is not None and declared and lease.started and parts.config.llm.measure:
        _measure(parts, proven.endpoint, proven.generation.spec)
    return _known(parts, proven.endpoint, (proven.generation,)) if proven.endpoint.owned else proven.endpoint


@dataclass(frozen=True, slots=True)
class Proven:
    """A server that answers as it should; its generation where it is ours."""

    endpoint: Endpoint
    generation: Generation | None


@dataclass
class _Rungs:
    """Starts what is planned, and proves it; a build that does not serve here gives way to the next one.

    What is proven becomes the current generation, and nothing else does.
    """

    parts: Parts
    known: Generation | None
    lease: Lease
    stack: ExitStack
    made: Generation | None = None
    failed: tuple[Failed, ...] = ()

    def proven(self) -> Proven:
        parts = self.parts
        while True:
            self.made = None
            try:
                endpoint = self._ensured()
            except UnfitError as error:
                self._pass_over(error)
                continue
            if not endpoint.owned:
                return Proven(endpoint, None)
            return Proven(endpoint, parts.generations.switch(self.made) if self.made else self.known)

    def _ensured(self) -> Endpoint:
        from concierge.server.ensure import ensure

        parts = self.parts
        return ensure(
            parts.config.llm,
            model=self.known.spec.model if self.known else wanted_model(parts),
            prepare=self._prepare,
            home=parts.home,
            say=parts.say,
            environ=parts.environ,
            lease=self.lease,
            room=lambda: _room(parts),
        )

    def _prepare(self) -> ServerSpec:
        from concierge.deploy import projects
        from concierge.store import leftovers

        parts = self.parts
        # Until the server is there, nothing takes its bytes away.
        self.stack.enter_context(leftovers.used(parts.home.store))
        projects.remember(parts.home, parts.folder)
        there = None if self.failed or self.known is None or not self.known.spec.whole else self.known
        self.made = there or parts.applier.apply(self.failed)
        return self.made.spec

    def _pass_over(self, error: UnfitError) -> None:
        """Note what does not serve here; the error is raised where nothing else is left."""
        from concierge.deploy.apply import RUNGS
        from concierge.plan.words import Failed

        made = self.made
        if made is None:
            raise error
        reason = error.what.partition("\n")[0].removesuffix(" Its log ends:")
        self.failed = (*(Failed(*pair) for pair in made.failed), Failed(made.spec.build, reason))
        self.parts.say(f"{made.spec.build} does not serve here: {reason}")
        if len(self.failed) >= RUNGS:
            raise error
        try:
            self.parts.plan(self.parts.running(failed=self.failed))
        except NothingSuitableError:
            raise error from None


def _say_held(parts: Parts, known: Generation | None) -> None:
    """Say that a rollback has answered what is asked for, or that its answer is lost."""
    held = parts.generations.held(parts.asked)
    if held is None:
        return
    if known is not None and known.number == held:
        parts.say(f"Generation {held} answers this, as `concierge rollback` chose.")
    else:
        parts.say(f"Generation {held}, which `concierge rollback` chose, does not answer here: going on without it.")


def _measure(parts: Parts, endpoint: Endpoint, spec: ServerSpec) -> None:
    """Measure a server that was never measured, and write it down: the next plan shows it beside what was predicted."""
    from concierge.deploy import rates
    from concierge.plan.words import Rate
    from concierge.server import measure

    engine, model = spec.engine_sha256, spec.model_sha256
    if any((rate.engine_sha256, rate.model_sha256) == (engine, model) for rate in parts.measured.rates):
        return
    found = measure.rates(endpoint, read=64, write=16, timeout=MEASURE_S)
    if found is None:
        return
    written, read = found
    parts.say(f"It writes {written:.0f} tokens a second and reads {read:.0f}.")
    rate = Rate(engine, model, spec.parameters, round(written, 2), round(read, 1))
    with suppress(StoreError):  # a home that cannot be written to has said so before
        rates.save(parts.home, parts.measured.having(rate))


def named(parts: Parts, lease: Lease | None = None, *, gentle: bool = False) -> Endpoint:
    """Return the server that a person named, or refuse by what it answered; one of ours is leased.

    Raises:
        EndpointError: It cannot be used.
        ConfigError: It is another machine's, and no name is given that it knows.
    """
    from concierge.server import launches
    from concierge.server.ensure import theirs
    from concierge.server.supervisor import join

    llm = parts.config.llm
    ours = launches.at(parts.home, str(llm.address)) if llm.address.loopback else None
    if ours is not None and ours.record.endpoint is not None and ours.serves:
        mine = llm.model in ("auto", ours.record.model)
        if mine and (lease is None or join(ours, parts.home, environ=parts.environ, say=parts.say, lease=lease)):
            return replace(ours.record.endpoint, context=ours.record.context)
    elif llm.model == "auto" and not (llm.address.loopback and llm.local_llm_ensure_available):
        raise ConfigError(
            f"`llm.model` is auto, and the server at {llm.address} is not ours to choose a model for.",
            where="llm.model",
            hint="Set `llm.model` to the name that this server knows.",
        )
    return theirs(llm, environ=parts.environ, say=parts.say, also=_also(parts), gentle=gentle)


def _also(parts: Parts) -> tuple[str, ...]:
    """Return what the catalogue says that other servers call the model."""
    if parts.config.llm.model == "auto":
        return ()
    from concierge.catalog.loader import load

    model = load().model(parts.config.llm.model)
    return () if model is None else model.also or ()


def _running(parts: Parts, lease: Lease) -> Endpoint | None:
    """Return the healthy server of ours where no model is named: nothing else is fetched or started for that."""
    from concierge.server.ensure import healthy

    asked = {("llm", name) for name in ("model", "context", "engine", "accelerator", "local_llm_start_cmd", "flake")}
    if asked & parts.found.keys() or parts.config.locked or parts.config.llm.model != "auto":
        return None
    found = healthy(parts.home, lease, environ=parts.environ, say=parts.say)
    if found is None:
        return None
    return _known(parts, found, (parts.generations.current(),))


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


def wanted_model(parts: Parts) -> str:
    """Return the name to look for at the usual address, planning only when nothing else can tell.

    Raises:
        NothingSuitableError: No model suits this machine.
    """
    llm = parts.config.llm
    if isinstance(reference.parse(llm.model), reference.Named):
        return llm.model
    if llm.local_llm_start_cmd:
        raise ConfigError(
            f"`llm.model` is {llm.model}, and `local_llm_start_cmd` starts a server that is not ours to choose for.",
            where="llm.model",
            hint="Set `llm.model` to the name that this server knows.",
        )
    return parts.plan(parts.running()).model_name


def here(parts: Parts) -> Running:
    """Return what is here already; on another computer, which only its bundle tells of, nothing is."""
    from concierge.plan.words import Running

    return parts.running(endpoint=_adoptable(parts)) if parts.bundle is None else Running()


def _adoptable(parts: Parts) -> Endpoint | None:
    """Return the server that would be used as it is; one that a person named is it, or is refused."""
    from concierge.server.ensure import adoptable
    from concierge.server.processes.owner import whose

    llm = parts.config.llm
    if parts.named:
        return named(parts, gentle=True) if llm.address.loopback and llm.local_llm_ensure_available else None
    wanted = reference.parse(llm.model)
    if isinstance(wanted, reference.Hub | reference.Local) or whose(llm.address) != "mine":
        return None
    name = llm.model if llm.model != "auto" else parts.plan(parts.running()).model_name
    return adoptable(llm.endpoint(model=name, environ=parts.environ), whose, lambda _: None)


def _known(parts: Parts, endpoint: Endpoint, generations: tuple[Generation | None, ...]) -> Endpoint:
    """Return the endpoint with what is known of a model that we serve: whether it has tools, and how it acts best."""
    for generation in generations:
        if generation is not None and generation.spec.model == endpoint.model:
            return replace(endpoint, tools=generation.tools, protocol=generation.protocol)
    model = parts.catalog.model(endpoint.model)
    if model is None:
        return endpoint
    return replace(endpoint, tools=model.chat.tools, protocol=model.chat.protocol)
