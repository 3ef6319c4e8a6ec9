from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.machine.types import DeviceMemory
from concierge.plan.constraints import Candidate
from concierge.plan.placement import Served, Setting, settle

if TYPE_CHECKING:
    from concierge.catalog.types import Gguf
    from concierge.config.keys import Context
    from concierge.machine.types import Device, Machine
    from tests.make import Make

GIB = 1 << 30


def served(
    make: Make,
    weights: float,
    *cards: Device,
    context: Context = "auto",
    trained: int = 262_144,
    machine: Machine | None = None,
    gguf: Gguf | None = None,
) -> Served:
    """Settle a dense model of 24 KiB a token, or another, on cards or on the CPU."""
    more = {} if gguf is None else {"gguf": gguf, "params_active": 10**9}
    model = make.model("m", 1, int(weights * GIB), context_train=trained, **more)
    build = make.build("cuda" if cards else "cpu")
    candidate = Candidate(build, cards[0], (), cards[1:]) if cards else Candidate(build)
    return settle(machine or make.machine(*cards), context, model, candidate)


def mixture(make: Make) -> Gguf:
    """A mixture of which all but a tenth are experts, and eight of 128 are in use."""
    facts = make.model("m", 1, 1).gguf
    assert facts is not None
    return facts.model_copy(update={"experts": 128, "experts_used": 8, "active": 0.16})


def test_rocm_has_one_part_of_a_split_pool_and_vulkan_both(make: Make) -> None:
    memory = DeviceMemory(dedicated=make.amount(32, "vram"), shared=make.amount(16, "gtt"))
    chip = make.gpu(vendor="amd", kind="integrated", gfx_target="gfx1151", pci_id="1002:1586", memory=memory)
    machine, model = make.machine(chip, ram=32), make.model("m", 1, GIB)
    budgets = {
        accelerator: settle(machine, 4096, model, Candidate(make.build(accelerator), chip)).estimate.budget
        for accelerator in ("rocm", "vulkan")
    }
    assert budgets == {"rocm": 32 * GIB, "vulkan": 48 * GIB}


def test_a_device_that_shares_memory_pays_for_what_the_cpu_keeps(make: Make) -> None:
    memory = DeviceMemory(unified=make.amount(32, "total"))
    needs = [
        served(make, 1, gpu, context=4096).estimate.memory or 0
        for gpu in (make.gpu(32), make.gpu(kind="unified", memory=memory))
    ]
    assert needs[1] > needs[0]


def test_a_context_that_is_asked_for_is_given_with_the_plain_cache_where_it_fits(make: Make) -> None:
    assert served(make, 1, make.gpu(8), context=20_000).setting == Setting(20_000, "f16")


def test_a_quantised_cache_comes_before_a_refusal_and_a_refusal_names_the_least_that_is_needed(make: Make) -> None:
    tight, small = (served(make, 1, make.gpu(gib), context=131_072) for gib in (4, 3))
    assert (tight.fits, tight.setting.kv_type) == (True, "q8_0")
    assert not small.fits
    assert (small.estimate.memory or 0) > (small.estimate.budget or 0)


@pytest.mark.parametrize(
    ("gib", "setting"),
    [
        (80, Setting(262_144, "f16")),
        (9, Setting(262_144, "f16")),
        (7, Setting(262_144, "q8_0")),
        (4, Setting(131_072, "q8_0")),
        (3, Setting(65_536, "q8_0")),
        (2, Setting(16_384, "f16")),
    ],
)
def test_the_context_is_as_long_as_fits_and_a_quantised_cache_comes_before_a_shorter_one(
    make: Make, gib: float, setting: Setting
) -> None:
    assert served(make, 1, make.gpu(gib)).setting == setting


def test_the_context_is_never_longer_than_the_model_was_trained_for(make: Make) -> None:
    assert served(make, 1, make.gpu(80), trained=40_960).setting == Setting(40_960, "f16")


def test_where_other_programs_live_a_longer_context_takes_half_of_what_is_left(make: Make) -> None:
    memory = DeviceMemory(unified=make.amount(64, "total"))
    chip = make.gpu(name="Apple M4 Max", vendor="apple", kind="unified", memory=memory)
    roomy, tight = (served(make, weights, chip, machine=make.machine(chip, ram=64)) for weights in (40, 44))
    assert (roomy.setting.context, tight.setting.context) == (262_144, 131_072)
    # With its longest context the larger one would fit too, and leave little to anybody else.
    assert (tight.estimate.budget or 0) - (tight.estimate.memory or 0) > 131_072 * 24 * 1024


def test_the_context_is_no_longer_than_can_be_read_in_half_an_hour(make: Make) -> None:
    slow, fast = (served(make, weights, machine=make.machine(ram=20)).setting.context for weights in (4, 0.2))
    assert (slow, fast) == (65_536, 262_144)


def test_the_wanted_context_grows_with_the_memory_and_what_served_less_in_less_still_serves(make: Make) -> None:
    # All but 1.6 GiB of a card: enough for 16k in a small one, not for 64k in a larger one.
    assert [served(make, gib - 1.6, make.gpu(gib)).fits for gib in (7.4, 14.9, 15.1)] == [True, True, False]
    assert [served(make, 7.4 - 1.6, make.gpu(gib)).fits for gib in (7.4, 7.6, 15.1, 30.1)] == [True] * 4


def test_experts_that_do_not_fit_stay_in_main_memory_and_no_more_of_them_than_must(make: Make) -> None:
    facts = mixture(make)
    whole, split = (served(make, 18, make.gpu(gib), gguf=facts) for gib in (48, 12))
    assert whole.setting.host_layers == 0
    assert 0 < split.setting.host_layers < facts.layers
    assert split.fits
    spare = (split.estimate.budget or 0) - (split.estimate.memory or 0)
    assert 0 <= spare < 18 * GIB / facts.layers
    assert (split.estimate.likely or 0) < (whole.estimate.likely or 0)
    assert split.setting.ubatch > whole.setting.ubatch


def test_experts_take_at_most_half_of_main_memory(make: Make) -> None:
    card, facts = make.gpu(8), mixture(make)
    assert served(make, 18, card, gguf=facts, machine=make.machine(card, ram=32)).fits
    assert not served(make, 18, card, gguf=facts, machine=make.machine(card, ram=16)).fits


def test_a_graphics_unit_on_the_cpu_s_memory_gains_nothing_from_leaving_experts_there(make: Make) -> None:
    memory = DeviceMemory(unified=make.amount(16, "total"))
    chip = make.gpu(kind="integrated", memory=memory)
    assert not served(make, 18, chip, gguf=mixture(make), machine=make.machine(chip, ram=64)).fits


def test_layers_over_two_cards_use_the_memory_of_both_at_the_speed_of_each_share(make: Make) -> None:
    one, other = make.gpu(24), make.gpu(24, id="0000:02:00.0")
    assert not served(make, 30, one).fits
    both = served(make, 30, one, other)
    assert both.fits
    assert both.estimate.budget == 48 * GIB
    assert both.estimate.likely == pytest.approx(served(make, 30, make.gpu(48)).estimate.likely, rel=0.01)


def test_a_model_of_unknown_shape_gets_the_usual_context(make: Make) -> None:
    model = make.model("opaque", 1, GIB, gguf=None)
    candidate = Candidate(make.build("cpu"))
    assert settle(make.machine(), "auto", model, candidate).setting == Setting(8192)
    assert settle(make.machine(), 1000, model, candidate).setting == Setting(1000)
