"""Measure this machine with the real engine, and keep what serves best."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.errors import ConfigError, ServerError, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.deploy.generation import Generation
    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint
    from concierge.plan.words import Plan, Rate
    from concierge.river.parts import Parts

CONTEXT = 8_192
"""Tokens of context of the servers that are tried: a longer one only takes longer to start."""

FIRST, PIECE_S = (32, 8), 3.0
"""Tokens that are read and written to learn how many take so many seconds."""

BOUNDS = ((64, 2_048), (8, 128))
"""The fewest and the most tokens that are read, and written, for one measurement."""

PATIENCE_S = 120.0
"""How long one measurement may take."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        reads_gb_s: GB/s of main memory that all cores together read; None when it cannot be measured here.
        before: What the planned server did, ``after`` the best.
        tried: Every server that was measured, in order.
        whole: Whether all was tried in the time that there was.
    """

    model: str
    reads_gb_s: float | None
    before: Rate
    after: Rate
    tried: tuple[Rate, ...]
    whole: bool


def tune(parts: Parts, *, seconds: float) -> Tuned:
    """Measure main memory and servers with one parameter after the other changed, and keep the best as a generation.

    Raises:
        ConfigError: The server is a person's own.
        ServerError: A server of ours is in use, or the planned one does not start or answer.
        ConciergeError: Any error of planning or fetching.
    """
    if parts.named or parts.config.llm.local_llm_start_cmd:
        raise ConfigError(
            "concierge tunes its own engine, and here a server of yours is configured.",
            where="llm.base_url",
            hint="Leave base_url and local_llm_start_cmd out to tune the engine that concierge would bring.",
        )
    from concierge.store import leftovers

    parts.gate.settings()
    end = time.monotonic() + seconds
    _undisturbed(parts)
    parts = _with_memory(parts)
    with leftovers.used(parts.home.store):
        generation = parts.generations.switch(parts.applier.apply())
        plan = parts.plan(parts.running())
        return _Tuning(parts, generation, plan, end).tune()


def _undisturbed(parts: Parts) -> None:
    from concierge.server import launches, leases

    for launch in launches.living(parts.home):
        users = leases.holders(parts.home, launch.record) if launch.members else []
        if users:
            raise ServerError(
                f"The server of {launch.record.model} is in use: {'; '.join(users)}.",
                hint="Tune when it is free: two servers at once would measure each other.",
            )


def _with_memory(parts: Parts) -> Parts:
    """Measure how fast main memory is read, and return the parts that know it."""
    from concierge.deploy import rates
    from concierge.machine.capture.memory_speed import read_gb_s

    cpu = parts.machine.cpu
    parts.say("Reading main memory for two seconds.")
    found = read_gb_s(cpu.cores or cpu.threads or 1)
    if found is not None:
        parts.say(f"Its cores read {found:.1f} GB/s.")
    rates.save(parts.home, replace(parts.measured, reads_gb_s=found))
    return replace(parts)


class _Tuning:
    def __init__(self, parts: Parts, generation: Generation, plan: Plan, end: float) -> None:
        self._parts = parts
        self._generation = generation
        self._plan = plan
        self._end = end
        self._tokens: tuple[int, int] | None = None
        self._tried: list[Rate] = []

    def tune(self) -> Tuned:
        before = self._measure(self._generation.spec)
        if before is None:
            raise ServerError(
                f"The server of {self._generation.spec.model} starts and says no timings.",
                hint="Its engine does not tell what is needed to tune it.",
            )
        best, whole = self._best(before)
        self._keep(best)
        measured = self._parts.measured.reads_gb_s
        return Tuned(self._generation.spec.model, measured, before, best, tuple(self._tried), whole)

    def _best(self, best: Rate) -> tuple[Rate, bool]:
        """Return the best that is found, and whether everything was tried."""
        from concierge.plan import tuning

        for name, value in self._trials():
            if time.monotonic() >= self._end:
                return best, False
            spec = replace(self._generation.spec, parameters=tuning.with_value(best.parameters, name, value))
            found = self._measure(spec)
            if found is not None and tuning.better(found, best):
                best = found
        return best, True

    def _trials(self) -> Iterator[tuple[str, str]]:
        from concierge.plan import tuning

        for name, values in tuning.knobs(self._plan, self._parts.machine):
            for value in values:
                yield name, value

    def _measure(self, spec: ServerSpec) -> Rate | None:
        """Return what a server does; None where it does not start, or tells no timings."""
        from concierge.server import stop
        from concierge.server.ensure import engine
        from concierge.server.leases import Lease
        from concierge.server.supervisor import obtain

        parts, spec = self._parts, replace(spec, context=min(spec.context, CONTEXT))
        launch = None
        try:
            with Lease(parts.home) as lease:
                desired = engine(spec, parts.config.llm, parts.environ)
                endpoint = obtain(desired, parts.home, environ=parts.environ, say=lambda _: None, lease=lease)
                launch = lease.record.launch if lease.record is not None else None
                rate = self._rate(spec, endpoint)
        except StartError as error:
            parts.say(f"{_shown(spec)}: {error.what.splitlines()[0]}")
            return None
        finally:
            if launch is not None:
                stop.give_up(launch, parts.home, say=parts.say, environ=parts.environ)
        if rate is not None:
            self._tried.append(rate)
            parts.say(f"{_shown(spec)}: {rate.written:.1f} tokens/s written, {rate.read:.0f} read")
        return rate

    def _rate(self, spec: ServerSpec, endpoint: Endpoint) -> Rate | None:
        from concierge.plan.words import Rate
        from concierge.server import measure

        if self._tokens is None:
            first = measure.rates(endpoint, read=FIRST[0], write=FIRST[1], timeout=PATIENCE_S)
            if first is None:
                return None
            self._tokens = (_within(first[1] * PIECE_S, BOUNDS[0]), _within(first[0] * PIECE_S, BOUNDS[1]))
        read, write = self._tokens
        # The better of two: whatever else ran meanwhile made one of them slower.
        found = [measure.rates(endpoint, read=read, write=write, timeout=PATIENCE_S) for _ in range(2)]
        told = [each for each in found if each is not None]
        if not told:
            return None
        written, prompt = (max(each) for each in zip(*told, strict=True))
        return Rate(spec.engine_sha256, spec.model_sha256, spec.parameters, round(written, 2), round(prompt, 1))

    def _keep(self, best: Rate) -> None:
        """Write down what was measured, and make the best the generation that answers what is asked for."""
        from concierge.deploy import rates

        parts, tuned = self._parts, replace(best, tuned=True)
        rates.save(parts.home, parts.measured.having(tuned))
        after = replace(parts)
        spec = replace(self._generation.spec, parameters=best.parameters)
        after.generations.switch(
            replace(self._generation, number=0, asked=after.asked, question=after.question, spec=spec)
        )


def _within(tokens: float, bounds: tuple[int, int]) -> int:
    return int(min(max(tokens, bounds[0]), bounds[1]))


def _shown(spec: ServerSpec) -> str:
    from concierge.plan.tuning import TUNED

    return ", ".join(f"{name} {value}" for name, value in spec.parameters if name in TUNED)
