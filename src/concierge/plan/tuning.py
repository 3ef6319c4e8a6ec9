"""Which settings of a server are worth trying, one after the other, and which of two is the better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.fit.memory import Serving, estimate
from concierge.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from concierge.machine.types import Machine
    from concierge.plan.words import Estimate, Plan, Rate

    Parameters = tuple[tuple[str, str], ...]

DRAFTS = ("2", "3")
"""Tokens that a model's own next-token-prediction block may propose at once."""

TUNED = frozenset(("threads", "ubatch", "flash_attn", "drafts"))
"""Parameters that change how fast a server is, and nothing else that a plan decides."""

MOST_THREADS = 60
"""Beyond so many threads even the largest servers get slower."""

READ, WRITTEN = 2_000, 200
"""Tokens of an agent's step: what it reads anew, and what it writes."""

ROOM = 2 * GIB
"""Memory that must be left over for larger batches, whose buffers are larger."""

GAIN = 0.03
"""What another setting must gain to be taken: less lies within what two measurements differ by."""


def seconds(rate: Rate) -> float:
    """Return the seconds that an agent's step takes; endless where nothing was read or written."""
    return READ / rate.read + WRITTEN / rate.written if rate.read and rate.written else float("inf")


def better(other: Rate, best: Rate) -> bool:
    """Tell whether ``other`` gains enough over ``best``."""
    return seconds(other) < seconds(best) * (1 - GAIN)


def knobs(plan: Plan, machine: Machine) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each parameter that is worth trying, the most telling first, with its values beside the planned one."""
    given, cpu = dict(plan.parameters), machine.cpu
    if plan.accelerator == "cpu" or "cpu_moe" in given:
        cores = cpu.cores or 0
        yield "threads", _others(given, "threads", (cores // 2, cores, cpu.threads or 0, min(cores, MOST_THREADS)))
    large = (1024, 2048) if _spare(plan.estimate) >= ROOM else ()
    yield "ubatch", _others(given, "ubatch", (128, 256, 512, *large))
    if _drafts(plan):
        yield "drafts", DRAFTS
    # A quantised cache of values needs it.
    yield "flash_attn", _others(given, "flash_attn", (1,) if "cache_type_v" in given else (1, 0))


def _drafts(plan: Plan) -> bool:
    """Tell whether the model can draft, this launcher can be told to, and there is room for what that takes."""
    if plan.model is None or plan.model.gguf is None or plan.build is None or plan.context is None:
        return False
    facts, kv_type = plan.model.gguf, dict(plan.parameters).get("cache_type_k", "f16")
    if not facts.drafting or plan.build.launcher != "llama-server":
        return False
    plain, drafting = (
        estimate(facts, plan.model.size, Serving(plan.context, "q8_0" if kv_type == "q8_0" else "f16", drafts=drafts))
        for drafts in (0, int(DRAFTS[-1]))
    )
    return drafting.device_total - plain.device_total <= _spare(plan.estimate)


def _spare(estimate: Estimate | None) -> int:
    if estimate is None or estimate.memory is None or estimate.budget is None:
        return 0
    return estimate.budget - estimate.memory


def _others(given: Mapping[str, str], name: str, values: Iterable[int]) -> tuple[str, ...]:
    able = dict.fromkeys(str(value) for value in values if value >= 0 and (value or name == "flash_attn"))
    return tuple(value for value in able if value != given.get(name))


def with_value(parameters: Parameters, name: str, value: str) -> Parameters:
    """Return the parameters with one of them set."""
    return tuple(sorted({**dict(parameters), name: value}.items()))


def applied(planned: Parameters, rate: Rate | None) -> Parameters:
    """Return what is served with: what was tuned, where it was tuned for this very placement."""
    if rate is None or not rate.tuned or _placement(rate.parameters) != _placement(planned):
        return planned
    return rate.parameters


def _placement(parameters: Parameters) -> dict[str, str]:
    return {name: value for name, value in parameters if name not in TUNED}
