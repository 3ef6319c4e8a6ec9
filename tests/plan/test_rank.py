from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.catalog.types import digest
from concierge.machine.types import Usable
from concierge.plan import rank
from concierge.plan.constraints import Candidate
from concierge.plan.placement import Served, Setting
from concierge.plan.words import Estimate

if TYPE_CHECKING:
    from concierge.catalog.types import Model
    from concierge.plan.rank import Settle
    from tests.make import Make

GIB = 1 << 30


def weighing(
    budget: dict[str, float | None], bandwidth: dict[str, float | None], prompt: float | None = None
) -> Settle:
    """A scale on which a model needs its own size, and each token reads all of it."""

    def weigh(model: Model, candidate: Candidate) -> Served:
        accelerator = candidate.build.accelerator
        here, speed = budget[accelerator], bandwidth[accelerator]
        rate = None if speed is None else speed * 1e9 / model.size
        need = None if model.gguf is None else model.size
        there = None if here is None else int(here * GIB)
        estimate = Estimate(need, there, rate, rate, rate, "table" if rate else "unknown", prompt)
        return Served(Setting(4096), estimate, fits=need is None or need <= (2 * GIB if there is None else there))

    return weigh


def pick(make: Make, weigh: Settle, *accelerators: str, sizes: tuple[float, ...] = (0.1, 1, 5, 12)) -> rank.Pick | None:
    """Choose among models whose rank is ten times their size."""
    usable = Usable(ok=True, reason="")
    devices = {name: make.gpu(accelerators={name: usable}) for name in accelerators if name != "cpu"}
    candidates = [Candidate(make.build(name), devices.get(name)) for name in accelerators]
    models = [make.model(f"m{size}", int(size * 10), int(size * GIB)) for size in sizes]
    return rank.choose(rank.order(candidates, frozenset()), models, weigh, "auto")


def named(found: rank.Pick | None) -> tuple[str, str, str]:
    assert found is not None
    return found.candidate.build.accelerator, found.judged.model.name, found.choice


def test_the_best_that_fits_is_taken_when_it_is_fast_enough(make: Make) -> None:
    weigh = weighing({"cuda": 6}, {"cuda": 1000})
    assert named(pick(make, weigh, "cuda")) == ("cuda", "m5", "best-agent")


def test_a_better_model_that_would_be_useless_for_its_slowness_gives_way(make: Make) -> None:
    weigh = weighing({"cuda": 24}, {"cuda": 45})  # 3.5 tokens/s of the largest
    assert named(pick(make, weigh, "cuda")) == ("cuda", "m5", "weighed-with-speed")


def merit(make: Make, written: float, read: float = 100) -> float:
    model = make.model("m", 100, 1)
    judged = rank.Judged(model, None, Estimate(1, 1, written, written, written, "table", read))
    return judged.merit / model.rank


@pytest.mark.parametrize(("tokens", "left"), [(3, 0.02), (5, 0.5), (7, 0.93), (10, 0.99), (100, 1.0)])
def test_waiting_for_what_is_written_costs_little_above_seven_tokens_and_all_far_below(
    make: Make, tokens: float, left: float
) -> None:
    assert merit(make, tokens) == pytest.approx(left, abs=0.01)


def test_nobody_waits_for_a_prompt_that_is_read_slower_than_8000_tokens_in_seven_minutes(make: Make) -> None:
    assert [merit(make, 100, read=read) for read in (19.9, 20.1)] == pytest.approx([0, 1])


def test_the_best_of_slow_models_is_taken_and_not_the_smallest(make: Make) -> None:
    weigh = weighing({"cpu": 24}, {"cpu": 30})
    assert named(pick(make, weigh, "cpu", sizes=(0.1, 1, 4, 5))) == ("cpu", "m4", "weighed-with-speed")


def test_an_unknown_speed_is_trusted_with_a_small_model_only(make: Make) -> None:
    weigh = weighing({"cpu": 64}, {"cpu": None})
    assert named(pick(make, weigh, "cpu"))[1] == "m1"
    assert pick(make, weigh, "cpu", sizes=(5, 12)) is None


def test_an_unknown_memory_is_taken_as_little(make: Make) -> None:
    weigh = weighing({"vulkan": None}, {"vulkan": 1000})
    assert named(pick(make, weigh, "vulkan")) == ("vulkan", "m1", "best-agent")


def test_the_better_model_decides_between_devices_and_the_accelerator_between_equals(make: Make) -> None:
    weigh = weighing({"cuda": 6, "cpu": 64}, {"cuda": 1000, "cpu": 60})
    assert named(pick(make, weigh, "cpu", "cuda"))[:2] == ("cuda", "m5")
    weigh = weighing({"cuda": 0.5, "cpu": 64}, {"cuda": 1000, "cpu": 60})
    assert named(pick(make, weigh, "cpu", "cuda"))[:2] == ("cpu", "m5")


@given(st.floats(1, 2000), st.floats(1, 10), st.floats(5, 3000), st.floats(1, 10))
def test_a_faster_machine_never_gets_a_worse_agent(
    make: Make, bandwidth: float, more: float, prompt: float, again: float
) -> None:
    slow = pick(make, weighing({"cpu": 64}, {"cpu": bandwidth}, prompt), "cpu")
    fast = pick(make, weighing({"cpu": 64}, {"cpu": bandwidth * more}, prompt * again), "cpu")
    assert (fast.judged.model.rank if fast else 0) >= (slow.judged.model.rank if slow else 0)


def test_a_vendor_s_stack_comes_before_vulkan_and_vulkan_before_the_cpu(make: Make) -> None:
    everywhere = dict.fromkeys(("cuda", "vulkan", "cpu"), 24.0)
    weigh = weighing({**everywhere}, {**dict.fromkeys(everywhere, 1000.0)})
    assert named(pick(make, weigh, "cpu", "vulkan", "cuda"))[0] == "cuda"
    assert named(pick(make, weigh, "cpu", "vulkan"))[0] == "vulkan"


def test_builds_of_one_accelerator_go_by_certainty_then_proof_then_presence_then_size(make: Make) -> None:
    sure, doubtful = (
        Candidate(make.build("cuda", "sure", 9)),
        Candidate(make.build("cuda", "doubtful", 1), None, ("?",)),
    )
    proven = Candidate(make.build("cuda", "proven", 8, proven=True))
    here = Candidate(make.build("cuda", "here", 7))
    small = Candidate(make.build("cuda", "small", 2))
    stored = frozenset([digest(here.build.artefact)])
    ordered = rank.order([doubtful, sure, small, here, proven], stored)
    assert ordered == [proven, here, small, sure, doubtful]
    reasons = [rank.passed_over(proven, other, stored).reason for other in ordered[1:]]
    assert reasons == [
        "not yet proven, and the chosen one is",
        "not yet proven, and the chosen one is",
        "not yet proven, and the chosen one is",
        "not sure to run: ?",
    ]
    assert rank.passed_over(small, sure, stored).reason == "9 B to fetch; the chosen one takes 2 B"


def test_a_model_newer_than_the_preferred_build_takes_a_build_that_knows_it(make: Make) -> None:
    old = Candidate(make.build("cpu", "old", proven=True, llama_cpp=100))
    new = Candidate(make.build("cpu", "new", llama_cpp=200))
    models = [make.model("small", 1, GIB), make.model("newer", 2, GIB, minimum_build=150)]
    found = rank.choose([old, new], models, weighing({"cpu": 8}, {"cpu": 100}), "auto")
    assert found is not None
    assert (found.candidate, found.judged.model.name) == (new, "newer")


def test_every_other_model_keeps_the_figure_that_it_lost_by(make: Make) -> None:
    models = [
        make.model("tiny", 1, GIB // 10),
        make.model("like", 5, 2 * GIB),
        make.model("chosen", 5, GIB),
        make.model("slow", 6, 12 * GIB),
        make.model("large", 7, 30 * GIB),
        make.model("short", 8, GIB, context_train=2048),
        make.model("newer", 9, GIB, minimum_build=99),
        make.model("opaque", 10, GIB, gguf=None),
    ]
    found = rank.choose([Candidate(make.build("cpu"))], models, weighing({"cpu": 16}, {"cpu": 50}, 9000), 4096)
    assert found is not None
    assert {other.model.name: (other.cause, other.reason) for other in found.others} == {
        "tiny": ("ranked-lower", "chosen ranks 5, this one 1"),
        "like": ("ranked-lower", "chosen ranks alike and needs less"),
        "slow": (
            "speed",
            "too slow for what it does better: about 4 tokens/s predicted (4 to 4, by table), about 9000 read",
        ),
        "large": ("memory", "needs 32.2 GB with 4096 tokens of context; there are 17.2 GB"),
        "short": ("context", "was trained for 2048 tokens, fewer than the 4096 of llm.context"),
        "newer": ("engine-build", "needs llama.cpp build 99 or newer, which no build for this device has"),
        "opaque": ("unknown", "its memory need is not known, so it is taken only when it is asked for by name"),
    }


def test_a_model_that_was_asked_for_goes_to_the_first_device_that_holds_it_however_slow(make: Make) -> None:
    candidates = [Candidate(make.build("cuda"), make.gpu()), Candidate(make.build("cpu"))]
    weigh = weighing({"cuda": 4, "cpu": 64}, {"cuda": 1000, "cpu": 5})
    placed = rank.place(candidates, [make.model("large", 1, 12 * GIB)], weigh, "auto")
    assert named(placed) == ("cpu", "large", "asked")
    assert rank.place(candidates, [make.model("huge", 1, 90 * GIB)], weigh, "auto") is None
    assert named(rank.place(candidates, [make.model("opaque", 1, GIB, gguf=None)], weigh, "auto"))[0] == "cuda"
