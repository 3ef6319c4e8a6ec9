"""What one model would do on one device of this machine: the memory it needs there and the speed to expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.catalog.flags import PROMPT_CACHE_MIB
from concierge.fit import memory, speed
from concierge.machine.budget import cpu_budget, device_budget
from concierge.plan.words import Estimate
from concierge.units import MIB

if TYPE_CHECKING:
    from concierge.catalog.types import Gguf, Model
    from concierge.fit.speed import Bandwidth
    from concierge.machine.types import Device, Machine
    from concierge.plan.constraints import Candidate


def estimate(machine: Machine, model: Model, candidate: Candidate, *, context: int) -> Estimate:
    """Return the estimate for ``model`` with ``context`` tokens on the candidate's device, or on the CPU."""
    device, memory = candidate.device, machine.memory
    # What a device offers is not the same through each of its accelerators.
    offered = cpu_budget(memory) if device is None else device_budget(memory, device, candidate.build.accelerator)
    capacity = offered.bytes
    if model.gguf is None:
        return Estimate(None, capacity)
    expected = speed.predict(model.gguf, model.size, memory=_bandwidth(device), depth=context // 2)
    return Estimate(
        memory=_memory(model.gguf, model.size, device, capacity, context),
        budget=capacity,
        slow=expected.low,
        likely=expected.likely,
        fast=expected.high,
        source=expected.source,
    )


def _memory(facts: Gguf, weights: int, device: Device | None, capacity: int | None, context: int) -> int:
    """Return the bytes needed of the memory that limits: the device's, or the one pool when it shares the CPU's."""
    # The CPU's budget is already less the system's own share.
    margin = 0 if device is None else memory.margin_for(capacity or 0)
    need = memory.estimate(facts, weights, context=context, on_device=device is not None, margin=margin)
    host = need.host_total + PROMPT_CACHE_MIB * MIB
    if device is None:
        return host
    return need.device_total + (host if _shares_memory(device) else 0)


def _shares_memory(device: Device) -> bool:
    """Tell whether what the model keeps in main memory lies in the same pool."""
    return device.memory.unified.bytes is not None or device.memory.wired_limit.bytes is not None


def _bandwidth(device: Device | None) -> Bandwidth:
    if device is None:
        return speed.bandwidth_of("", vendor="", kind="host")
    compute = device.compute_capability
    chips = (device.pci_id, device.gfx_target, compute and f"sm_{compute.replace('.', '')}")
    return speed.bandwidth_of(
        device.name, vendor=device.vendor, kind=device.kind, chips=tuple(chip for chip in chips if chip)
    )
