"""Why nothing suits, in a sentence that says what would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.errors import NothingSuitableError
from concierge.machine.read.findings import FOREIGN_FIX
from concierge.plan import rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.catalog.types import Model
    from concierge.config.keys import Llm
    from concierge.machine.types import Machine
    from concierge.plan.constraints import Candidate
    from concierge.plan.rank import Judged, Settle
    from concierge.plan.words import Rejected, Running


def no_engine(machine: Machine, rejected: Sequence[Rejected]) -> NothingSuitableError:
    """Return the error for a machine that no build runs on."""
    if machine.system is None:
        what = f"The catalogue has no engine for {machine.os.name or 'this system'}."
    else:
        against = dict.fromkeys(f"{entry.accelerator}: {entry.reason}" for entry in rejected)
        same = {entry.reason for entry in rejected}
        reasons = "; ".join(same if len(same) == 1 else against) or "the catalogue has none"
        what = f"No engine suits this {machine.system} machine: {reasons}."
    foreign = f"{FOREIGN_FIX} Or start" if machine.libc.foreign else "Start"
    return NothingSuitableError(what, hint=f"{foreign} a server yourself and set llm.base_url to it.")


def no_model(
    llm: Llm, candidates: Sequence[Candidate], models: Sequence[Model], settle: Settle, running: Running
) -> NothingSuitableError:
    """Return the error for a machine that an engine runs on, and no model that it may use."""
    able = [model for model in models if running.failure(model.name) is None]
    if not able:
        what = "; ".join(f"{model.name} {running.failure(model.name)}" for model in models)
        what = what or "the catalogue has no model"
        return NothingSuitableError(f"No model is left to try: {what}.", hint="`concierge models` lists the catalogue.")
    model = min(able, key=lambda model: model.size)
    groups = rank.by_device(candidates)
    judged = [rank.judge(group, model, settle, llm.context, asked=True) for group in groups]
    against = "; ".join(
        f"on {group[0].build.accelerator} it {entry.reason or f'is too slow: {rank.pace(entry.estimate)}'}"
        for group, entry in zip(groups, judged, strict=True)
    )
    smallest = "" if llm.model != "auto" else ", the smallest in the catalogue,"
    return NothingSuitableError(
        f"{model.name}{smallest} does not suit this machine: {against}.",
        where="llm.model",
        hint=_hint(llm, model, judged),
    )


def _hint(llm: Llm, model: Model, judged: Sequence[Judged]) -> str:
    if any(entry.cause == "context" for entry in judged):
        return f"Set llm.context to {model.context_train} or less."
    if llm.model != "auto":
        return "Set llm.model to a smaller one, or llm.context to less; `concierge models` says what fits."
    return "Set llm.context to less, or llm.base_url to a server on another machine."
