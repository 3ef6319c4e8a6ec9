from __future__ import annotations

from dataclasses import replace

import pytest

from concierge.machine.budget import budget, cpu_budget, device_budget, devices_for, os_margin
from concierge.machine.types import Amount, DeviceMemory, MemoryFacts, Usable
from concierge.units import GIB
from tests.make import Make

make = Make()
CUDA = {"cuda": Usable(ok=True, reason="works"), "vulkan": Usable(ok=False, reason="no driver")}


def gib(size: float) -> Amount:
    return make.amount(size, f"{size} said")


@pytest.mark.parametrize(("total", "kept"), [(1, 1), (8, 1), (16, 2), (63, 7.875), (64, 8), (72, 8), (512, 8)])
def test_the_system_keeps_an_eighth_within_bounds(total: int, kept: float) -> None:
    assert os_margin(total * GIB) == kept * GIB


def test_the_cpu_has_the_tightest_ceiling_less_the_systems_share() -> None:
    free = cpu_budget(MemoryFacts(total=gib(32), available=gib(20)))
    limited = cpu_budget(MemoryFacts(total=gib(32), limit=gib(8)))
    assert (free.bytes, free.now, free.device) == (28 * GIB, 20 * GIB, None)
    assert (limited.bytes, limited.now) == (7 * GIB, None)
    assert limited.reason.startswith("8 said")
    assert cpu_budget(MemoryFacts(total=gib(0.5))).bytes == 0
    assert cpu_budget(MemoryFacts(total=Amount(reason="nobody said"))) == replace(
        cpu_budget(MemoryFacts()), reason="nobody said"
    )


def test_the_largest_device_that_can_is_the_one_that_counts() -> None:
    small, large = make.gpu(8, id="small", accelerators=CUDA), make.gpu(24, id="large", accelerators=CUDA)
    unknown, unable = make.gpu(None, id="unknown", accelerators=CUDA), make.gpu(80, id="unable", accelerators={})
    machine = make.machine(small, unknown, unable, large)
    assert [device.id for device in devices_for(machine, "cuda")] == ["large", "small", "unknown"]
    found = budget(machine, "cuda")
    assert (found.bytes, found.device) == (24 * GIB, "large")
    assert (budget(machine, "vulkan").bytes, budget(machine, "vulkan").reason) == (None, "no driver")
    assert budget(machine, "cpu") == cpu_budget(machine.memory)


def test_a_card_has_its_own_memory_whatever_is_free_of_it() -> None:
    card = make.gpu(24)
    now = replace(card, memory=replace(card.memory, free=gib(3)))
    found = device_budget(MemoryFacts(total=gib(8)), now)
    assert (found.bytes, found.now, found.device) == (24 * GIB, 3 * GIB, card.id)


@pytest.mark.parametrize(
    ("memory", "accelerator", "expected"),
    [
        (DeviceMemory(unified=gib(16)), "metal", 16),
        (DeviceMemory(unified=gib(32), wired_limit=gib(24)), "metal", 24),
        (DeviceMemory(unified=gib(32)), "metal", 28),
        (DeviceMemory(shared=gib(12), unified=gib(20)), "vulkan", 12),
        (DeviceMemory(shared=gib(12), dedicated=gib(4)), "vulkan", 16),
        (DeviceMemory(shared=gib(12), dedicated=gib(4)), "rocm", 12),
        (DeviceMemory(shared=gib(4), dedicated=gib(12)), "rocm", 12),
        (DeviceMemory(unified=gib(12), dedicated=gib(4)), "vulkan", 12),
        (DeviceMemory(dedicated=gib(4)), "vulkan", None),
    ],
)
def test_a_shared_pool_is_the_smallest_of_its_limits_and_the_carve_out_beside_it(
    memory: DeviceMemory, accelerator: str, expected: float | None
) -> None:
    device = make.gpu(kind="integrated", memory=memory)
    found = device_budget(MemoryFacts(total=gib(32)), device, accelerator)  # type: ignore[arg-type]
    assert found.bytes == (None if expected is None else expected * GIB)
    assert found.reason
    assert found.device == device.id


def test_what_is_free_of_a_pool_is_no_more_than_the_pool_and_what_both_say() -> None:
    def now(free: Amount, available: Amount) -> int | None:
        device = make.gpu(kind="unified", memory=DeviceMemory(unified=gib(16), free=free))
        return device_budget(MemoryFacts(total=gib(32), available=available), device).now

    assert now(gib(10), gib(5)) == now(gib(5), gib(10)) == now(gib(5), Amount()) == now(Amount(), gib(5)) == 5 * GIB
    assert now(Amount(), gib(30)) == 16 * GIB
    assert now(Amount(), Amount()) is None
