"""What the catalogue offers and what of it fits this machine: the rows of ``concierge models`` and ``engines``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from concierge.plan import rank
from concierge.plan.changes import fetched
from concierge.plan.constraints import examine
from concierge.plan.placement import settle
from concierge.plan.words import Estimate, Rejected, build_name

if TYPE_CHECKING:
    from concierge.catalog.types import Build, Catalog, Model
    from concierge.config.keys import Context, Llm
    from concierge.machine.types import Machine
    from concierge.plan.constraints import Candidate
    from concierge.plan.rank import Settle
    from concierge.platforms import Accelerator


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model, on the best device of this machine that carries it.

    Attributes:
        fits: Whether it fits with its context; ``reason`` says how it would do, or why not.
        memory: Bytes it needs with its context, None when unknown.
        size: Bytes to fetch.
        evidence: What its rank stands on, as `bench score (date)`, the deciding one first.
        slow: Fewest tokens per second that are likely, ``fast`` the most; None when unknown.
    """

    name: str
    title: str
    fits: bool
    accelerator: Accelerator | None
    reason: str
    memory: int | None
    size: int
    rank: int
    evidence: tuple[str, ...]
    slow: float | None
    fast: float | None
    speed_source: str
    licence: str
    gated: bool


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One build for this machine's system."""

    name: str
    engine: str
    version: str
    accelerator: Accelerator
    fits: bool
    reason: str
    size: int
    licence: str
    proven: bool


def engines(machine: Machine, catalog: Catalog) -> list[EngineRow]:
    """Return every build for this system, those that could run first, in the order in which they are preferred."""
    # A build that two devices could use stands once, with the first of them.
    able = {build_name(candidate.build): candidate for candidate in reversed(_candidates(machine, catalog))}
    rows = [_engine(each.build, fits=True, reason=_able(machine, each)) for each in reversed(able.values())]
    unable = [(build, found) for build, found in _verdicts(machine, catalog) if isinstance(found, Rejected)]
    return rows + [_engine(build, fits=False, reason=found.reason) for build, found in unable]


def _verdicts(machine: Machine, catalog: Catalog) -> list[tuple[Build, tuple[Candidate, ...] | Rejected]]:
    return [(build, examine(machine, build)) for build in catalog.builds if build.system == machine.system]


def _candidates(machine: Machine, catalog: Catalog) -> list[Candidate]:
    able = (found for _, found in _verdicts(machine, catalog) if not isinstance(found, Rejected))
    return rank.order((candidate for found in able for candidate in found), frozenset())


def models(machine: Machine, catalog: Catalog, llm: Llm) -> list[ModelRow]:
    """Return every model with what it would do here at ``llm.context``, best work first."""
    groups = rank.by_device(_candidates(machine, catalog))
    served = partial(settle, machine, llm.context)
    ladder = sorted(catalog.models, key=lambda model: (-model.rank, model.size, model.name))
    return [_model(model, groups, served, llm.context) for model in ladder]


def _model(model: Model, groups: list[list[Candidate]], served: Settle, context: Context) -> ModelRow:
    """Return the row of the first device that carries ``model``; else it says what is wrong with the first of all."""
    judged = [(group[0].build.accelerator, rank.judge(group, model, served, context)) for group in groups]
    nowhere = rank.Judged(model, None, Estimate(None, None), "accelerator", "no engine runs here")
    unfit = judged[0][1] if judged else nowhere
    accelerator, found = next((each for each in judged if each[1].cause is None), (None, unfit))
    return ModelRow(
        name=model.name,
        title=model.title,
        fits=accelerator is not None,
        accelerator=accelerator,
        reason=found.reason or rank.pace(found.estimate),
        memory=found.estimate.memory,
        size=sum(map(fetched, model.artefact)),
        rank=model.rank,
        evidence=tuple(f"{each.bench} {each.score:g} ({each.date})" for each in model.evidence),
        slow=found.estimate.slow,
        fast=found.estimate.fast,
        speed_source=found.estimate.source,
        licence=model.licence,
        gated=model.gated,
    )


def _able(machine: Machine, candidate: Candidate) -> str:
    doubts = "; ".join(candidate.unsure)
    return f"not sure: {doubts}" if doubts else machine.usable(candidate.build.accelerator).reason


def _engine(build: Build, *, fits: bool, reason: str) -> EngineRow:
    return EngineRow(
        name=build_name(build),
        engine=build.engine,
        version=build.version,
        accelerator=build.accelerator,
        fits=fits,
        reason=reason,
        size=sum(map(fetched, build.artefact)),
        licence=build.licence,
        proven=build.proven,
    )
