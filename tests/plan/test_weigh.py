from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.types import DeviceMemory
from concierge.plan.constraints import Candidate
from concierge.plan.weigh import estimate

if TYPE_CHECKING:
    from tests.make import Make

GIB = 1 << 30


def test_rocm_has_one_part_of_a_split_pool_and_vulkan_both(make: Make) -> None:
    memory = DeviceMemory(dedicated=make.amount(32, "vram"), shared=make.amount(16, "gtt"))
    chip = make.gpu(vendor="amd", kind="integrated", gfx_target="gfx1151", pci_id="1002:1586", memory=memory)
    machine, model = make.machine(chip, ram=32), make.model("m", 1, GIB)
    budgets = {
        accelerator: estimate(machine, model, Candidate(make.build(accelerator), chip), context=4096).budget
        for accelerator in ("rocm", "vulkan")
    }
    assert budgets == {"rocm": 32 * GIB, "vulkan": 48 * GIB}


def test_a_device_that_shares_memory_pays_for_what_the_cpu_keeps(make: Make) -> None:
    memory = DeviceMemory(unified=make.amount(32, "total"))
    apart, within = make.gpu(32), make.gpu(kind="unified", memory=memory)
    model = make.model("m", 1, GIB)
    needs = [
        estimate(make.machine(gpu), model, Candidate(make.build("cuda"), gpu), context=4096).memory or 0
        for gpu in (apart, within)
    ]
    assert needs[1] > needs[0]
