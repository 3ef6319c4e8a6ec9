from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.catalog.types import digest
from concierge.machine.types import Usable
from concierge.plan import rank
from concierge.plan.constraints import Candidate
from concierge.plan.words import Estimate

if TYPE_CHECKING:
    from concierge.catalog.types import Model
    from concierge.plan.rank import Weigh
    from tests.make import Make

GIB = 1 << 30


def weighing(budget: dict[str, float | None], bandwidth: dict[str, float | None]) -> Weigh:
    """A scale on which a model needs its own size, and each token reads all of it."""

    def weigh(model: Model, candidate: Candidate) -> Estimate:
        accelerator = candidate.build.accelerator
        here, speed = budget[accelerator], bandwidth[accelerator]
        rate = None if speed is None else speed * 1e9 / model.size
        need = None if model.gguf is None else model.size
        return Estimate(
            need, None if here is None else int(here * GIB), rate, rate, rate, "table" if rate else "unknown"
        )

    return weigh


def pick(make: Make, weigh: Weigh, *accelerators: str, sizes: tuple[float, ...] = (0.1, 1, 5, 12)) -> rank.Pick | None:
    usable = Usable(ok=True, reason="")
    devices = {name: make.gpu(accelerators={name: usable}) for name in accelerators if name != "cpu"}
    candidates = [Candidate(make.build(name), devices.get(name)) for name in accelerators]
    models = [make.model(f"m{size}", int(size * 10), int(size * GIB)) for size in sizes]
    return rank.choose(rank.order(candidates, frozenset()), models, weigh, 4096)


def named(found: rank.Pick | None) -> tuple[str, str, str]:
    assert found is not None
    return found.candidate.build.accelerator, found.judged.model.name, found.choice


def test_the_best_that_fits_is_taken_when_it_is_fast_enough(make: Make) -> None:
    weigh = weighing({"cuda": 6}, {"cuda": 1000})
    assert named(pick(make, weigh, "cuda")) == ("cuda", "m5", "best-quality-resident")


def test_a_better_model_that_would_be_slow_gives_way_to_a_fast_one(make: Make) -> None:
    weigh = weighing({"cuda": 24}, {"cuda": 120})
    assert named(pick(make, weigh, "cuda")) == ("cuda", "m5", "speed-gated-quality")


def test_where_none_is_fast_the_fastest_usable_one_is_taken(make: Make) -> None:
    weigh = weighing({"cpu": 24}, {"cpu": 10})
    assert named(pick(make, weigh, "cpu", sizes=(1, 5))) == ("cpu", "m1", "fastest-resident")


def test_what_is_slower_than_slow_reading_is_not_taken_at_all(make: Make) -> None:
    assert pick(make, weighing({"cpu": 24}, {"cpu": 4}), "cpu", sizes=(1, 5)) is None


def test_an_unknown_speed_is_trusted_with_a_small_model_only(make: Make) -> None:
    weigh = weighing({"cpu": 64}, {"cpu": None})
    assert named(pick(make, weigh, "cpu")) == ("cpu", "m1", "speed-gated-quality")
    assert pick(make, weigh, "cpu", sizes=(5, 12)) is None


def test_an_unknown_memory_is_taken_as_little(make: Make) -> None:
    weigh = weighing({"vulkan": None}, {"vulkan": 1000})
    assert named(pick(make, weigh, "vulkan")) == ("vulkan", "m1", "best-quality-resident")


def test_an_accelerator_comes_before_the_cpu_even_if_the_cpu_would_hold_more(make: Make) -> None:
    weigh = weighing({"cuda": 6, "cpu": 64}, {"cuda": 1000, "cpu": 400})
    assert named(pick(make, weigh, "cpu", "cuda")) == ("cuda", "m5", "best-quality-resident")


def test_an_accelerator_that_carries_a_worse_model_than_the_cpu_is_left_out(make: Make) -> None:
    weigh = weighing({"cuda": 0.5, "cpu": 64}, {"cuda": 1000, "cpu": 50})
    assert named(pick(make, weigh, "cpu", "cuda"))[:2] == ("cpu", "m1")


def test_beside_an_accelerator_the_cpu_carries_only_small_models_and_says_why(make: Make) -> None:
    weigh = weighing({"cuda": 0.5, "cpu": 64}, {"cuda": 1000, "cpu": 400})
    found = pick(make, weigh, "cpu", "cuda")
    assert named(found)[:2] == ("cpu", "m1")
    assert found is not None
    assert {other.model.name: other.cause for other in found.others} == {
        "m0.1": "ranked-lower",
        "m5": "cpu-size",
        "m12": "cpu-size",
    }
    assert named(pick(make, weigh, "cpu"))[1] == "m12"


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
    found = rank.choose([old, new], models, weighing({"cpu": 8}, {"cpu": 100}), 4096)
    assert found is not None
    assert (found.candidate, found.judged.model.name) == (new, "newer")


def test_every_other_model_keeps_the_reason_it_was_not_taken(make: Make) -> None:
    models = [
        make.model("tiny", 1, GIB // 10),
        make.model("chosen", 5, GIB),
        make.model("slow", 6, 6 * GIB),
        make.model("large", 7, 30 * GIB),
        make.model("short", 8, GIB, context_train=2048),
        make.model("newer", 9, GIB, minimum_build=99),
        make.model("opaque", 10, GIB, gguf=None),
    ]
    found = rank.choose([Candidate(make.build("cpu"))], models, weighing({"cpu": 8}, {"cpu": 50}), 4096)
    assert found is not None
    assert {other.model.name: (other.cause, other.reason) for other in found.others} == {
        "tiny": ("ranked-lower", "fits too; chosen does better work"),
        "slow": ("speed", "about 8 tokens/s predicted (8 to 8, by table); 20 are wanted"),
        "large": ("memory", "needs 32.2 GB with its context; there are 8.6 GB"),
        "short": ("context", "was trained for 2048 tokens, fewer than the 4096 of llm.context"),
        "newer": ("engine-build", "needs llama.cpp build 99 or newer, which no build for this device has"),
        "opaque": ("unknown", "its memory need is not known, so it is taken only when it is asked for by name"),
    }


def test_a_model_that_was_asked_for_goes_to_the_first_device_that_holds_it_however_slow(make: Make) -> None:
    candidates = [Candidate(make.build("cuda"), make.gpu()), Candidate(make.build("cpu"))]
    weigh = weighing({"cuda": 4, "cpu": 64}, {"cuda": 1000, "cpu": 5})
    placed = rank.place(candidates, [make.model("large", 1, 12 * GIB)], weigh, 4096)
    assert named(placed) == ("cpu", "large", "asked")
    assert rank.place(candidates, [make.model("huge", 1, 90 * GIB)], weigh, 4096) is None
    assert named(rank.place(candidates, [make.model("opaque", 1, GIB, gguf=None)], weigh, 4096))[0] == "cuda"
