from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.types import Catalog, digest
from concierge.config.keys import Llm
from concierge.machine.types import Cpu
from concierge.plan import tuning
from concierge.plan.decide import plan
from concierge.plan.words import Plan, Rate, Running

if TYPE_CHECKING:
    from tests.make import Make

MIB = 1 << 20


@pytest.fixture
def catalog(make: Make) -> Catalog:
    models = (make.model("small", 10, 400 * MIB), make.model("large", 40, 4000 * MIB))
    return Catalog(builds=(make.build("cpu"),), models=models)


def rate(found: Plan, written: float, read: float, *, tuned: bool = True, **parameters: str) -> Rate:
    """What was measured of a plan's server, with further parameters."""
    assert found.build is not None
    assert found.model is not None
    served = tuple(sorted({**dict(found.parameters), **parameters}.items()))
    return Rate(digest(found.build.artefact), digest(found.model.artefact), served, written, read, tuned)


def test_the_threads_are_tried_first_and_only_where_the_cpu_computes(make: Make, catalog: Catalog) -> None:
    machine = make.machine(cpu=Cpu(cores=8, threads=16))
    knobs = dict(tuning.knobs(plan(machine, Llm(), catalog), machine))
    assert next(iter(knobs)) == "threads"
    assert knobs["threads"] == ("4", "16")
    assert knobs["ubatch"] == ("128", "256", "1024", "2048")
    assert knobs["flash_attn"] == ("1", "0")
    card = make.machine(make.gpu(4))
    on_card = plan(card, Llm(), Catalog(builds=(make.build("cuda"),), models=catalog.models))
    assert "threads" not in dict(tuning.knobs(on_card, card))


def test_larger_batches_are_tried_only_where_there_is_room_for_them(make: Make) -> None:
    catalog = Catalog(builds=(make.build("cuda"),), models=(make.model("m", 10, 6000 * MIB),))
    card = make.machine(make.gpu(8))
    assert dict(tuning.knobs(plan(card, Llm(), catalog), card))["ubatch"] == ("128", "256")


def test_a_quantised_cache_is_not_tried_without_flash_attention(make: Make, catalog: Catalog) -> None:
    machine = make.machine()
    found = plan(machine, Llm(), catalog)
    quantised = replace(found, parameters=(*found.parameters, ("cache_type_v", "q8_0")))
    assert dict(tuning.knobs(quantised, machine))["flash_attn"] == ("1",)


def test_drafts_are_tried_where_the_model_has_a_block_for_them_and_there_is_room(make: Make) -> None:
    def knobs(*, tight: bool = False, **facts: object) -> dict[str, tuple[str, ...]]:
        plain = make.model("m", 10, 6000 * MIB)
        assert plain.gguf is not None
        model = plain.model_copy(update={"gguf": plain.gguf.model_copy(update=facts)})
        card = make.machine(make.gpu(24))
        found = plan(card, Llm(context=8192), Catalog(builds=(make.build("cuda"),), models=(model,)))
        assert found.estimate is not None
        full = replace(found, estimate=replace(found.estimate, budget=found.estimate.memory))
        return dict(tuning.knobs(full if tight else found, card))

    assert knobs(drafting=1)["drafts"] == ("2", "3")
    assert "drafts" not in knobs()
    assert "drafts" not in knobs(tight=True, drafting=1)


def test_a_step_of_an_agent_decides_and_noise_does_not() -> None:
    best = Rate("e", "m", (), written=10, read=100)
    assert tuning.seconds(best) == pytest.approx(40)
    assert tuning.better(replace(best, read=120), best)
    assert not tuning.better(replace(best, written=10.1), best)
    assert not tuning.better(replace(best, read=0), best)


def test_what_was_tuned_is_planned_with_and_shown_as_measured(make: Make, catalog: Catalog) -> None:
    machine = make.machine()
    first = plan(machine, Llm(), catalog)
    tuned = rate(first, 33.0, 444.0, threads="3", ubatch="256")
    again = plan(machine, Llm(), catalog, Running(rates=(tuned,)))
    assert again.parameters == tuned.parameters
    assert again.estimate is not None
    assert (again.estimate.likely, again.estimate.prompt, again.estimate.source) == (33.0, 444.0, "measured")
    assert "about 33 tokens/s predicted (30 to 36, by measured), about 444 read" in again.reasons


def test_a_better_model_that_was_measured_to_be_slow_gives_way(make: Make, catalog: Catalog) -> None:
    machine = make.machine(cpu=Cpu(cores=16, threads=16, level="x86-64-v4"))
    first = plan(machine, Llm(), catalog)
    assert first.model_name == "large"
    assert plan(machine, Llm(), catalog, Running(rates=(rate(first, 1.5, 20.0),))).model_name == "small"


def test_what_was_only_seen_decides_nothing(make: Make, catalog: Catalog) -> None:
    machine = make.machine()
    first = plan(machine, Llm(), catalog)
    seen = rate(first, 1.0, 1.0, tuned=False, threads="9")
    again = plan(machine, Llm(), catalog, Running(rates=(seen,)))
    assert (again.model_name, again.parameters) == (first.model_name, first.parameters)


def test_what_was_seen_of_this_very_server_is_shown(make: Make, catalog: Catalog) -> None:
    machine = make.machine()
    first = plan(machine, Llm(), catalog)
    again = plan(machine, Llm(), catalog, Running(rates=(rate(first, 12.0, 34.0, tuned=False),)))
    assert again.model_name == first.model_name
    assert again.estimate is not None
    assert (again.estimate.likely, again.estimate.source) == (12.0, "measured")


def test_what_was_tuned_for_another_placement_is_not_served_with(make: Make, catalog: Catalog) -> None:
    machine = make.machine()
    first = plan(machine, Llm(), catalog)
    other = rate(first, 99.0, 999.0, threads="3", cache_type_k="q8_0", cache_type_v="q8_0")
    assert plan(machine, Llm(), catalog, Running(rates=(other,))).parameters == first.parameters


def test_a_measured_memory_decides_the_speed_of_the_cpu(make: Make, catalog: Catalog) -> None:
    slow, fast = (
        plan(make.machine(cpu=Cpu(cores=4, threads=4, reads_gb_s=read)), Llm(model="large"), catalog).estimate
        for read in (10.0, 100.0)
    )
    assert slow is not None
    assert fast is not None
    assert (slow.source, fast.source) == ("measured", "measured")
    assert (fast.likely or 0) > 5 * (slow.likely or 0)
