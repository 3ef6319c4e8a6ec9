"""How much of a machine's memory a model may use: by capacity, never by what happens to be free now.

A choice that followed free memory would change once our own server holds some of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.units import GIB

if TYPE_CHECKING:
    from concierge.machine.types import Device, Machine, MemoryFacts
    from concierge.platforms import Accelerator


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


def os_margin(total: int) -> int:
    """Return what the system and its programs keep for themselves: an eighth, at least 1 GiB, at most 8 GiB."""
    return min(max(total // 8, GIB), 8 * GIB)


def devices_for(machine: Machine, accelerator: Accelerator) -> tuple[Device, ...]:
    """Return the devices that are usable through ``accelerator``, largest budget first."""
    able = (device for device in machine.devices if device.can(accelerator))
    return tuple(sorted(able, key=lambda device: -(device_budget(machine.memory, device, accelerator).bytes or -1)))


def budget(machine: Machine, accelerator: Accelerator) -> MemoryBudget:
    """Return what one device offers a model through ``accelerator``; several devices are never one pool."""
    if accelerator == "cpu":
        return cpu_budget(machine.memory)
    able = devices_for(machine, accelerator)
    if not able:
        return MemoryBudget(None, machine.usable(accelerator).reason)
    return device_budget(machine.memory, able[0], accelerator)


def cpu_budget(system: MemoryFacts) -> MemoryBudget:
    """Return what the CPU offers a model: the ceiling of system memory less the system's own share."""
    ceiling = system.ceiling
    if ceiling.bytes is None:
        return MemoryBudget(None, ceiling.reason or "the system's memory is not known")
    budget = max(ceiling.bytes - os_margin(ceiling.bytes), 0)
    available = system.available.bytes
    return MemoryBudget(budget, f"{ceiling.source} less the system's share", now=available)


def device_budget(system: MemoryFacts, device: Device, accelerator: Accelerator = "vulkan") -> MemoryBudget:
    """Return what one device offers a model, from the memory that a model on it would really go to."""
    memory = device.memory
    if device.kind in ("integrated", "unified"):
        return _pool_budget(system, device, accelerator)
    if memory.dedicated.bytes is None:
        return MemoryBudget(None, memory.dedicated.reason or "the device's memory is not known", device=device.id)
    return MemoryBudget(memory.dedicated.bytes, memory.dedicated.source, now=memory.free.bytes, device=device.id)


def _pool_budget(system: MemoryFacts, device: Device, accelerator: Accelerator) -> MemoryBudget:
    """A pool that the CPU shares: the smallest of its own limits and what the system can spare."""
    memory, spare = device.memory, cpu_budget(system)
    carve_out = memory.dedicated.bytes or 0
    part = memory.shared if memory.shared.bytes is not None else memory.unified
    limits = [amount for amount in (memory.wired_limit, part) if amount.bytes is not None]
    if not limits:
        return MemoryBudget(None, memory.unified.reason or "the shared pool's size is not known", device=device.id)
    tightest = min(limits, key=lambda amount: amount.bytes or 0)
    size, reason = tightest.bytes or 0, tightest.source
    if spare.bytes is not None and spare.bytes < size:
        size, reason = spare.bytes, f"{tightest.source}, capped by {spare.reason}"
    if carve_out and part is memory.shared:
        # The carve-out is not in the system's total. ROCm allocates from one of the two parts, Vulkan from both.
        size = max(size, carve_out) if accelerator == "rocm" else size + carve_out
        reason = f"{reason}, and the carve-out"
    free = [amount for amount in (memory.free.bytes, system.available.bytes) if amount is not None]
    now = min(min(free, default=size), size) if free else None
    return MemoryBudget(size, reason, now=now, device=device.id)
