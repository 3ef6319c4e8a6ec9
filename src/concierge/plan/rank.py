"""Choose an engine build and a model: candidates in, the best of them out, with a reason for every other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.catalog.types import digest
from concierge.plan.placement import ASSUMED, Served
from concierge.plan.words import Choice, Estimate, Rejected, build_name
from concierge.platforms import ACCELERATORS
from concierge.units import GIB, human

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from concierge.catalog.types import Model
    from concierge.config.keys import Context
    from concierge.plan.constraints import Candidate
    from concierge.plan.placement import Setting
    from concierge.plan.words import Cause

    Settle = Callable[[Model, Candidate], Served]

WRITTEN = 5.0
"""Tokens a second at which waiting halves the worth of what is written: slower than slow reading."""

READ = 20.0
"""Tokens of a prompt a second below which nobody waits for the first word: 8,000 tokens in seven minutes."""

SMALL = GIB
"""Weights that any memory still in use reads about ten times a second: usable though the speed is unknown."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A model on one device: how it would be served there, and what speaks against it."""

    model: Model
    setting: Setting | None
    estimate: Estimate
    cause: Cause | None = None
    reason: str = ""

    @property
    def merit(self) -> float:
        """What the agent is worth here: its rank, less what waiting for it costs, ``rank / (1 + (5 / written)^8)``.

        Next to nothing is lost above 7 tokens a second, and there is no cliff. Of two machines the faster never has the
        better agent lose against the worse: the larger model loses the less, the faster the machine. That would not
        hold if reading were weighed as well, since a mixture of experts writes faster than it reads: for reading there
        is a floor.
        """
        written, read = self.estimate.likely, self.estimate.prompt
        if written is None:
            return float(self.model.rank) if self.model.size <= SMALL else 0.0
        if not written or (read is not None and read < READ):
            return 0.0
        return self.model.rank / (1 + (WRITTEN / written) ** 8)


@dataclass(frozen=True, slots=True)
class Pick:
    """The best pair on one device."""

    candidate: Candidate
    judged: Judged
    choice: Choice
    others: tuple[Judged, ...] = ()


def order(candidates: Iterable[Candidate], stored: frozenset[str]) -> list[Candidate]:
    """Return the candidates best first.

    A vendor's own stack before Vulkan, Vulkan before the CPU; a card before a device that borrows the CPU's memory;
    one card before several; then those whose constraints are all known to be met; then Nix's builds where Nix started
    us, proven ones, installed ones, fewer bytes to fetch.
    """
    return sorted(candidates, key=lambda candidate: _key(candidate, stored))


def _key(candidate: Candidate, stored: frozenset[str]) -> tuple[int, bool, bool, bool, bool, bool, bool, int, str]:
    build, device = candidate.build, candidate.device
    return (
        ACCELERATORS.index(build.accelerator),
        device is not None and device.kind == "integrated",
        bool(candidate.beside),
        bool(candidate.unsure),
        not build.by_nix,
        not build.proven,
        digest(build.artefact) not in stored,
        build.size,
        build_name(build),
    )


def choose(candidates: Sequence[Candidate], models: Sequence[Model], settle: Settle, context: Context) -> Pick | None:
    """Return the best pair for ``model = "auto"``; ``candidates`` are in order.

    Each device, and each set of cards, has its own best model; of these the one with the highest score is taken, on the
    first device that carries it. So a device more never takes a better model away.
    """
    ladder = sorted(models, key=lambda model: (-model.rank, model.size, model.name))
    best: Pick | None = None
    for group in by_device(candidates):
        pick = _best(group, ladder, settle, context)
        if pick is not None and (best is None or _beats(pick, best)):
            best = pick
    return best


def _beats(pick: Pick, best: Pick) -> bool:
    """Tell whether a later device carries a better agent; several cards are also taken for more bits of the same."""
    model, other = pick.judged.model, best.judged.model
    if model.score != other.score:
        return model.score > other.score
    same = pick.candidate.build.accelerator == best.candidate.build.accelerator
    return bool(pick.candidate.beside) and same and model.rank > other.rank


def place(candidates: Sequence[Candidate], models: Sequence[Model], settle: Settle, context: Context) -> Pick | None:
    """Return where the first of ``models``, which was asked for, goes: the best device that carries it."""
    for model in models[:1]:
        for group in by_device(candidates):
            judged = judge(group, model, settle, context, asked=True)
            if judged.cause is None:
                return _picked(group, judged, "asked")
    return None


def judge(group: Sequence[Candidate], model: Model, settle: Settle, context: Context, *, asked: bool = False) -> Judged:
    """Return what speaks against ``model`` on the device of ``group``, whose builds are in order, speed aside.

    When it is ``asked`` for by name, not every fact about it need be known.
    """
    if context != "auto" and context > model.context_train:
        reason = f"was trained for {model.context_train} tokens, fewer than the {context} of llm.context"
        return Judged(model, None, Estimate(None, None), "context", reason)
    carrier = _carrier(group, model, asked=asked)
    if carrier is None:
        reason = f"needs llama.cpp build {model.minimum_build} or newer, which no build for this device has"
        if _carrier(group, model, asked=True) is not None:
            reason = f"needs llama.cpp build {model.minimum_build} or newer, and Nix's is older: ask for it by name"
        return Judged(model, None, Estimate(None, None), "engine-build", reason)
    served = settle(model, carrier)
    setting, estimate = served.setting, served.estimate
    if estimate.memory is None:
        reason = "its memory need is not known, so it is taken only when it is asked for by name"
        return Judged(model, setting, estimate) if asked else Judged(model, None, estimate, "unknown", reason)
    if served.fits:
        return Judged(model, setting, estimate)
    there = (
        f"at most {human(ASSUMED)} are assumed" if estimate.budget is None else f"there are {human(estimate.budget)}"
    )
    least = f"needs {human(estimate.memory)} with {setting.context} tokens of context"
    return Judged(model, None, estimate, "memory", f"{least}; {there}")


def by_device(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the candidates in groups, one for each accelerator and set of devices, in order."""
    groups: dict[tuple[str, ...], list[Candidate]] = {}
    for candidate in candidates:
        devices = (device.id for device in candidate.devices)
        groups.setdefault((candidate.build.accelerator, *devices), []).append(candidate)
    return list(groups.values())


def _carrier(group: Sequence[Candidate], model: Model, *, asked: bool) -> Candidate | None:
    """Return the first build that knows the model's architecture.

    Where Nix brings an engine, no other one is taken for a model that nobody asked for by name.
    """
    need = model.minimum_build
    able = (each for each in group if need is None or (each.build.llama_cpp or 0) >= need)
    first = next(able, None)
    foreign = first is not None and not first.build.by_nix and any(each.build.by_nix for each in group)
    return None if foreign and not asked else first


def _best(group: Sequence[Candidate], ladder: Sequence[Model], settle: Settle, context: Context) -> Pick | None:
    """Return the best of ladder, which is in order, on the device of ``group``.

    That is the one with the greatest merit, but for one of a higher rank that would be taken if there were less memory:
    what more memory adds never takes a better agent away.
    """
    seen: dict[str, Judged] = {}

    def judged(model: Model) -> Judged:
        if model.name not in seen:
            seen[model.name] = judge(group, model, settle, context)
        return seen[model.name]

    best: Judged | None = None
    for model in ladder:
        if best is not None and best.merit >= model.rank:
            break  # No merit is greater than the rank, and the ranks only fall from here.
        each = judged(model)
        if each.cause is None and each.merit > (best.merit if best else 0.0):
            best = each
    if best is None:
        return None
    for model in ladder:
        if model.rank <= best.model.rank:
            break
        if _first_choice(judged(model), ladder, judged):
            best = judged(model)
            break
    above = any(each.cause is None and each.model.rank > best.model.rank for each in seen.values())
    pick = _picked(group, best, "weighed-with-speed" if above else "best-agent")
    others = (seen.get(model.name) or Judged(model, None, Estimate(None, None)) for model in ladder)
    return replace(pick, others=tuple(_outdone(each, best) for each in others if each is not best))


def _first_choice(each: Judged, ladder: Sequence[Model], judged: Callable[[Model], Judged]) -> bool:
    """Tell whether a model has the greatest merit of all that need no more memory than it does."""
    need = each.estimate.memory
    if each.cause is not None or not each.merit or need is None:
        return False
    rivals = sorted((model for model in ladder if model.rank > each.merit), key=lambda model: model.size)
    return not any(
        rival.cause is None and rival.merit > each.merit and (rival.estimate.memory or 0) <= need
        for rival in map(judged, rivals)
    )


def _picked(group: Sequence[Candidate], judged: Judged, choice: Choice) -> Pick:
    carrier = _carrier(group, judged.model, asked=choice == "asked")
    assert carrier is not None
    return Pick(carrier, judged, choice)


def _outdone(entry: Judged, winner: Judged) -> Judged:
    """Give a model that was not taken the figure that it lost by."""
    if entry.cause is not None:
        return entry
    ours, theirs = entry.model.rank, winner.model.rank
    if ours <= theirs:
        lower = f"{winner.model.name} ranks {theirs}, this one {ours}"
        alike = f"{winner.model.name} ranks alike and needs less"
        return replace(entry, cause="ranked-lower", reason=alike if ours == theirs else lower)
    return replace(entry, cause="speed", reason=f"too slow for what it does better: {pace(entry.estimate)}")


def pace(estimate: Estimate) -> str:
    """Return the predicted speed in words."""
    if estimate.slow is None or estimate.likely is None or estimate.fast is None:
        return "the speed here is not known"
    between = f"{estimate.slow:.0f} to {estimate.fast:.0f}"
    read = "" if estimate.prompt is None else f", about {estimate.prompt:.0f} read"
    return f"about {estimate.likely:.0f} tokens/s predicted ({between}, by {estimate.source}){read}"


def passed_over(chosen: Candidate, other: Candidate, stored: frozenset[str]) -> Rejected:
    """Return why a build that could run here was not taken."""
    words = (
        f"{chosen.build.accelerator} comes first",
        "only for a device that borrows the CPU's memory",
        "one card is enough",
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
