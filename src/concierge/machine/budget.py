"""How much of a machine's memory a model may use: by capacity, never by what happens to be free now.

A choice that followed free memory would change once our own server holds some of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.machine.types import Device, MemoryFacts

GIB = 1 << 30
_SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 36, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """How much a model with its context may use.

    Attributes:
        bytes: By the machine's capacity, so that the same machine always gives the same answer; None is unknown.
        now: What is free at this moment, None when unknown. Warn by it; do not choose by it.
        reason: How the number came about.
        device: The device whose memory it is; None for the CPU.
    """

    bytes: int | None
    reason: str
    now: int | None = None
    device: str | None = None


def memory_class(size: int | None) -> int | None:
    """Return the sold size in GiB that ``size`` bytes belong to: firmware and kernel keep up to a tenth."""
    if size is None:
        return None
    return max((nominal for nominal in _SIZES if size >= nominal * GIB * 0.88), default=0)


def os_margin(total: int) -> int:
    """Return what the system and its programs keep for themselves: an eighth, at least 1 GiB, at most 8 GiB."""
    return min(max(total // 8, GIB), 8 * GIB)


def cpu_budget(system: MemoryFacts) -> MemoryBudget:
    """Return what the CPU offers a model: the ceiling of system memory less the system's own share."""
    ceiling = system.ceiling
    if ceiling.bytes is None:
        return MemoryBudget(None, ceiling.reason or "the system's memory is not known")
    budget = max(ceiling.bytes - os_margin(ceiling.bytes), 0)
    available = system.available.bytes
    return MemoryBudget(budget, f"{ceiling.source} less the system's share", now=available)


def device_budget(system: MemoryFacts, device: Device) -> MemoryBudget:
    """Return what one device offers a model, from the memory that a model on it would really go to."""
    memory = device.memory
    if memory.wired_limit.bytes is not None or memory.unified.bytes is not None:
        return _pool_budget(system, device)
    if memory.dedicated.bytes is None:
        return MemoryBudget(None, memory.dedicated.reason or "the device's memory is not known", device=device.id)
    source = memory.dedicated.source
    return MemoryBudget(memory.dedicated.bytes, source, now=memory.free.bytes, device=device.id)


def _pool_budget(system: MemoryFacts, device: Device) -> MemoryBudget:
    """A pool that the CPU shares: the smallest of its own limit and what the system can spare."""
    memory, spare = device.memory, cpu_budget(system)
    limits = [amount for amount in (memory.wired_limit, memory.unified) if amount.bytes is not None]
    tightest = min(limits, key=lambda amount: amount.bytes or 0)
    size, reason = tightest.bytes or 0, tightest.source
    if spare.bytes is not None and spare.bytes < size:
        size, reason = spare.bytes, f"{tightest.source}, capped by {spare.reason}"
    known = [amount for amount in (memory.free.bytes, system.available.bytes) if amount is not None]
    return MemoryBudget(size, reason, now=min(known, default=None), device=device.id)
