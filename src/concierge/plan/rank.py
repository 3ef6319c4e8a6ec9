"""Choose an engine build and a model: candidates in, the best of them out, with a reason for every other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.catalog.types import digest
from concierge.plan.words import Choice, Estimate, Rejected, build_name
from concierge.platforms import ACCELERATORS
from concierge.units import GIB, human

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from concierge.catalog.types import Model
    from concierge.plan.constraints import Candidate
    from concierge.plan.words import Cause

    Weigh = Callable[[Model, Candidate], Estimate]

GOOD = 20.0
"""Tokens a second below which an agent's work is felt as waiting: the floor for a model that nobody asked for."""

LEAST = 6.0
"""Tokens a second below which it is no use at all: slower than slow reading."""

SMALL = GIB
"""Weights that any memory still in use reads about ten times a second: usable though the speed is unknown."""

ASSUMED = 2 * GIB
"""What a device or a machine that does not tell its memory is taken to offer."""

RIVAL = 2 * GIB
"""Beside a usable accelerator the CPU may carry the better model only up to this size: reading a long prompt takes
it many times longer, and no figure of tokens written per second shows that."""

_CAPPED = "too large for the CPU beside an accelerator: it would read a long prompt many times slower"


@dataclass(frozen=True, slots=True)
class Judged:
    """A model on one device: what it would do there, and what speaks against it."""

    model: Model
    estimate: Estimate
    cause: Cause | None = None
    reason: str = ""

    @property
    def speed(self) -> float:
        """The likely tokens per second; 0 when unknown."""
        return self.estimate.likely or 0.0

    @property
    def good(self) -> bool:
        """Fast enough in all likelihood, and of some use even if the estimate is too high."""
        if self.estimate.slow is None:
            return self.model.size <= SMALL
        return self.speed >= GOOD and self.estimate.slow >= LEAST


@dataclass(frozen=True, slots=True)
class Pick:
    """The best pair on one device."""

    candidate: Candidate
    judged: Judged
    choice: Choice
    others: tuple[Judged, ...] = ()

    @property
    def merit(self) -> tuple[bool, int]:
        """How good it is, for comparing devices: fast enough first, then the model's rank."""
        return (self.choice != "fastest-resident", self.judged.model.rank)


def order(candidates: Iterable[Candidate], stored: frozenset[str]) -> list[Candidate]:
    """Return the candidates best first.

    A vendor's own stack before Vulkan, Vulkan before the CPU; a card before a device that borrows the CPU's memory;
    then those whose constraints are all known to be met; then Nix's builds where Nix started us, proven ones,
    installed ones, fewer bytes to fetch.
    """
    return sorted(candidates, key=lambda candidate: _key(candidate, stored))


def _key(candidate: Candidate, stored: frozenset[str]) -> tuple[int, bool, bool, bool, bool, bool, int, str]:
    build, device = candidate.build, candidate.device
    return (
        ACCELERATORS.index(build.accelerator),
        device is not None and device.kind == "integrated",
        bool(candidate.unsure),
        build.artefact[0].sources[0].kind != "nix",
        not build.proven,
        digest(build.artefact) not in stored,
        build.size,
        build_name(build),
    )


def choose(candidates: Sequence[Candidate], models: Sequence[Model], weigh: Weigh, context: int) -> Pick | None:
    """Return the best pair for ``model = "auto"``; ``candidates`` are in order."""
    ladder = sorted(models, key=lambda model: (-model.rank, model.size, model.name))
    accelerated = any(candidate.build.accelerator != "cpu" for candidate in candidates)
    best: Pick | None = None
    for group in by_device(candidates):
        cap = RIVAL if accelerated and group[0].build.accelerator == "cpu" else None
        # The groups are in order, so a later one must carry a better model, not an equal one.
        better = [model for model in ladder if _allowed(model, cap) and _could_beat(model, best)]
        pick = _best(group, better, weigh, context)
        if pick is not None and (best is None or pick.merit > best.merit):
            best, winners, limit = pick, group, cap
    if best is None:
        return None
    rest = (model for model in ladder if model is not best.judged.model)
    others = (
        _outdone(judge(winners, model, weigh, context), best.judged)
        if _allowed(model, limit)
        else Judged(model, Estimate(None, None), "cpu-size", _CAPPED)
        for model in rest
    )
    return replace(best, others=tuple(others))


def _allowed(model: Model, cap: int | None) -> bool:
    return cap is None or model.size <= cap


def _could_beat(model: Model, best: Pick | None) -> bool:
    return best is None or best.choice == "fastest-resident" or model.rank > best.judged.model.rank


def place(candidates: Sequence[Candidate], models: Sequence[Model], weigh: Weigh, context: int) -> Pick | None:
    """Return where the first of ``models``, which was asked for, goes: the best device that carries it."""
    for model in models[:1]:
        for group in by_device(candidates):
            judged = judge(group, model, weigh, context, asked=True)
            if judged.cause is None:
                return _picked(group, judged, "asked")
    return None


def judge(group: Sequence[Candidate], model: Model, weigh: Weigh, context: int, *, asked: bool = False) -> Judged:
    """Return what speaks against ``model`` on the device of ``group``, whose builds are in order, speed aside.

    When it is ``asked`` for by name, not every fact about it need be known.
    """
    if context > model.context_train:
        reason = f"was trained for {model.context_train} tokens, fewer than the {context} of llm.context"
        return Judged(model, Estimate(None, None), "context", reason)
    if _carrier(group, model) is None:
        reason = f"needs llama.cpp build {model.minimum_build} or newer, which no build for this device has"
        return Judged(model, Estimate(None, None), "engine-build", reason)
    estimate = weigh(model, group[0])
    if estimate.memory is None:
        reason = "its memory need is not known, so it is taken only when it is asked for by name"
        return Judged(model, estimate) if asked else Judged(model, estimate, "unknown", reason)
    budget = ASSUMED if estimate.budget is None else estimate.budget
    if estimate.memory <= budget:
        return Judged(model, estimate)
    there = f"at most {human(ASSUMED)} are assumed" if estimate.budget is None else f"there are {human(budget)}"
    return Judged(model, estimate, "memory", f"needs {human(estimate.memory)} with its context; {there}")


def by_device(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the candidates in groups, one for each accelerator and device, in order."""
    groups: dict[tuple[str, str | None], list[Candidate]] = {}
    for candidate in candidates:
        device = None if candidate.device is None else candidate.device.id
        groups.setdefault((candidate.build.accelerator, device), []).append(candidate)
    return list(groups.values())


def _carrier(group: Sequence[Candidate], model: Model) -> Candidate | None:
    """Return the first build that knows the model's architecture."""
    need = model.minimum_build
    return next((candidate for candidate in group if need is None or (candidate.build.llama_cpp or 0) >= need), None)


def _best(group: Sequence[Candidate], ladder: Sequence[Model], weigh: Weigh, context: int) -> Pick | None:
    """Return the best of ``ladder``, which is in order, on the device of ``group``."""
    resident: list[Judged] = []
    for model in ladder:
        judged = judge(group, model, weigh, context)
        if judged.cause is None and judged.good:
            return _picked(group, judged, "speed-gated-quality" if resident else "best-quality-resident")
        if judged.cause is None:
            resident.append(judged)
    usable = [judged for judged in resident if judged.speed >= LEAST]
    fastest = max(usable, key=lambda judged: judged.speed, default=None)
    return None if fastest is None else _picked(group, fastest, "fastest-resident")


def _picked(group: Sequence[Candidate], judged: Judged, choice: Choice) -> Pick:
    carrier = _carrier(group, judged.model)
    assert carrier is not None
    return Pick(carrier, judged, choice)


def _outdone(entry: Judged, winner: Judged) -> Judged:
    """Give a model that could run here the reason why another was taken."""
    if entry.cause is not None:
        return entry
    if not entry.good:
        return Judged(entry.model, entry.estimate, "speed", f"{pace(entry.estimate)}; {GOOD:.0f} are wanted")
    reason = f"fits too; {winner.model.name} does better work"
    return Judged(entry.model, entry.estimate, "ranked-lower", reason)


def pace(estimate: Estimate) -> str:
    """Return the predicted speed in words."""
    if estimate.slow is None or estimate.likely is None or estimate.fast is None:
        return "the speed here is not known"
    between = f"{estimate.slow:.0f} to {estimate.fast:.0f}"
    return f"about {estimate.likely:.0f} tokens/s predicted ({between}, by {estimate.source})"


def passed_over(chosen: Candidate, other: Candidate, stored: frozenset[str]) -> Rejected:
    """Return why a build that could run here was not taken."""
    words = (
        f"{chosen.build.accelerator} comes first",
        "only for a device that borrows the CPU's memory",
        f"not sure to run: {'; '.join(other.unsure)}",
        "concierge was started by Nix, which brings the chosen one",
        "not yet proven, and the chosen one is",
        "not here yet, and the chosen one is",
        f"{human(other.build.size)} to fetch; the chosen one takes {human(chosen.build.size)}",
        "equal to the chosen one",
    )
    ours, theirs = _key(chosen, stored), _key(other, stored)
    if theirs < ours:
        reason = "carries only a worse model here"
    else:
        reason = next(word for word, mine, its in zip(words, ours, theirs, strict=True) if its != mine)
    return Rejected("engine", build_name(other.build), "ranked-lower", reason, other.build.accelerator)
