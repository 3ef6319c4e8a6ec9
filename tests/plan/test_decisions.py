"""What is picked on each class of machine, pinned in ``decisions.txt``.

A catalogue edit that changes a cell must change that file; this writes it again::

    PYTHONPATH=src:. python tests/plan/test_decisions.py > tests/plan/decisions.txt
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from concierge.catalog import loader
from concierge.config.keys import Llm
from concierge.errors import NothingSuitableError
from concierge.fit import speed
from concierge.machine.types import Cpu, Device, DeviceMemory, Driver, Machine, Os, Usable
from concierge.plan.decide import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.make import Make

    At = Callable[[Make, float | None], Machine]

PINNED = Path(__file__).with_name("decisions.txt")
CATALOG = loader.load()
YES = Usable(ok=True, reason="usable")
SIZES = (None, 1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 96)
RAM = 16
"""Main memory of the machines whose device has its own."""

HEAD = """\
# What `model = "auto"` picks, with how much context and which cache, for each class of machine; `?` is memory that is
# not told.
# Written by tests/plan/test_decisions.py from the shipped catalogue; read it before you commit a change of it.
"""


@dataclass(frozen=True, slots=True)
class Class:
    """A kind of machine that comes in many sizes of memory."""

    title: str
    at: At


def discrete(name: str, *accelerators: str, **facts: object) -> At:
    def at(make: Make, gib: float | None) -> Machine:
        device = make.gpu(gib, name=name, accelerators=dict.fromkeys((*accelerators, "vulkan"), YES))
        return make.machine(replace(device, **facts), ram=RAM)  # type: ignore[arg-type]

    return at


def shared(name: str, *accelerators: str, system: str = "x86_64-linux", **facts: object) -> At:
    """A device and a CPU over one memory."""

    def at(make: Make, gib: float | None) -> Machine:
        memory = DeviceMemory(unified=make.amount(gib, "total"))
        device = make.gpu(name=name, memory=memory, accelerators=dict.fromkeys(accelerators, YES))
        return make.machine(replace(device, **facts), ram=gib, system=system)  # type: ignore[arg-type]

    return at


def apple(name: str) -> At:
    def at(make: Make, gib: float | None) -> Machine:
        limit = make.amount(None if gib is None else gib * 0.7, "recommendedMaxWorkingSetSize")
        memory = DeviceMemory(unified=make.amount(gib, "hw.memsize"), wired_limit=limit)
        chip = Device("metal:0", "apple", name, "unified", memory=memory, accelerators={"metal": YES})
        return make.machine(chip, ram=gib, system="aarch64-darwin", os=Os("darwin", "15.5"))

    return at


AMDGPU = Driver("amdgpu", usable=True)
CLASSES = (
    Class("cpu only, bandwidth by class", lambda make, gib: make.machine(ram=gib)),
    Class("cuda, fast: NVIDIA GeForce RTX 4090, 1008 GB/s", discrete("NVIDIA GeForce RTX 4090", "cuda")),
    Class("cuda, slow: Tesla P40, 346 GB/s", discrete("Tesla P40", "cuda", compute_capability="6.1")),
    Class("cuda, bandwidth by class", discrete("NVIDIA Graphics Device", "cuda", pci_id=None)),
    Class(
        "cuda, old driver: RTX 3060 on driver 470",
        discrete("NVIDIA GeForce RTX 3060", "cuda", driver=Driver("nvidia", "470.256.02", usable=True)),
    ),
    Class(
        "rocm: AMD Radeon RX 7900 XTX, 960 GB/s",
        discrete("AMD Radeon RX 7900 XTX", "rocm", vendor="amd", gfx_target="gfx1100", driver=AMDGPU),
    ),
    Class("vulkan, slow: Intel Arc A380, 186 GB/s", discrete("Intel Arc A380", vendor="intel", driver=Driver("xe"))),
    Class(
        "vulkan, integrated, bandwidth by class",
        shared("Intel UHD Graphics 770", "vulkan", vendor="intel", kind="integrated", driver=Driver("i915")),
    ),
    Class(
        "rocm, unified: Radeon 8060S, 256 GB/s",
        shared("AMD Radeon 8060S", "rocm", "vulkan", vendor="amd", kind="unified", gfx_target="gfx1151", driver=AMDGPU),
    ),
    Class(
        "cuda, unified: NVIDIA GB10, 273 GB/s",
        shared("NVIDIA GB10", "cuda", system="aarch64-linux", kind="unified", compute_capability="12.1"),
    ),
    Class("metal, slow: Apple M1, 68 GB/s", apple("Apple M1")),
    Class("metal, fast: Apple M2 Ultra, 800 GB/s", apple("Apple M2 Ultra")),
)


def rows(make: Make) -> Iterator[str]:
    for kind in CLASSES:
        yield f"\n[{kind.title}]"
        for gib in SIZES:
            size = "?" if gib is None else f"{gib}"
            yield f"{size:>3} GiB  {decision(kind.at(make, gib))}"


def decision(machine: Machine) -> str:
    try:
        found = plan(machine, Llm(), CATALOG)
    except NothingSuitableError:
        return "nothing suits"
    given = dict(found.parameters)
    cache = given.get("cache_type_k", "f16")
    behind = f", experts of {given['cpu_moe']} layers in main memory" if "cpu_moe" in given else ""
    context = f"{(found.context or 0) // 1024}k {cache}"
    return f"{found.accelerator:<7} {found.model_name:<18} {context:<10} {found.choice}{behind}"


def table(make: Make) -> str:
    return HEAD + "\n".join(rows(make)) + "\n"


def test_each_class_of_machine_gets_the_pinned_model_for_the_pinned_reason(make: Make) -> None:
    assert table(make) == PINNED.read_text(encoding="utf-8"), "see the head of this test for how to write it again"


def merit(machine: Machine) -> float:
    try:
        found = plan(machine, Llm(), CATALOG)
    except NothingSuitableError:
        return 0
    assert found.model is not None
    return found.model.score


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(CLASSES), st.floats(0.25, 128), st.floats(0, 64))
def test_more_memory_never_picks_a_worse_model(make: Make, kind: Class, gib: float, more: float) -> None:
    assert merit(kind.at(make, gib + more)) >= merit(kind.at(make, gib))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.25, 96), st.floats(0.5, 96), st.floats(0, 64))
def test_more_main_memory_beside_a_card_never_picks_a_worse_model(
    make: Make, card: float, ram: float, more: float
) -> None:
    gpu = make.gpu(card, name="NVIDIA GeForce RTX 3060")
    assert merit(make.machine(gpu, ram=ram + more)) >= merit(make.machine(gpu, ram=ram))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CLASSES),
    st.floats(2, 64),
    st.sampled_from([4.0, 8.0, 12.0, 24.0, 80.0]),
    st.sampled_from(["NVIDIA GeForce GTX 1060", "NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 4090"]),
)
def test_one_card_more_never_picks_a_worse_model(make: Make, kind: Class, gib: float, card: float, name: str) -> None:
    machine = kind.at(make, gib)
    if machine.system != "x86_64-linux":
        return
    more = make.gpu(card, id="0000:41:00.0", name=name)
    assert merit(replace(machine, devices=(*machine.devices, more))) >= merit(machine)


# Processors of one maker and of one number of cores, each with more memory channels or faster memory than the last.
CHANNELS = ("Core(TM) i5-7400", "Core(TM) i7-11700", "Core(TM) i5-13400", "Xeon Gold 6338", "Xeon Platinum 8592+")


@settings(max_examples=60, deadline=None)
@given(st.floats(2, 512), st.integers(0, len(CHANNELS) - 1), st.integers(0, len(CHANNELS) - 1), st.integers(2, 64))
def test_more_memory_channels_never_pick_a_worse_model(
    make: Make, gib: float, one: int, other: int, cores: int
) -> None:
    few, many = (
        make.machine(ram=gib, cpu=Cpu(model=f"Intel(R) {CHANNELS[index]} CPU", cores=cores, threads=cores))
        for index in sorted((one, other))
    )
    assert merit(many) >= merit(few)


@settings(max_examples=40, deadline=None)
@given(st.floats(2, 512), st.integers(1, 128), st.integers(0, 64))
def test_more_cores_never_pick_a_worse_model(make: Make, gib: float, cores: int, more: int) -> None:
    few, many = (make.machine(ram=gib, cpu=Cpu(cores=count, threads=count)) for count in (cores, cores + more))
    assert merit(many) >= merit(few)


# Within one family: data centre cards make less of their memory than others do, and old ones read prompts slower.
NAMED = sorted(
    (figure, " ".join(words))
    for words, figure in speed._table()["nvidia"].items()
    if speed._family(" ".join(words), "nvidia") is speed._FAMILIES["nvidia"]
)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.25, 96), st.integers(0, len(NAMED) - 1), st.integers(0, len(NAMED) - 1))
def test_more_bandwidth_never_picks_a_worse_model(make: Make, gib: float, one: int, other: int) -> None:
    slow, fast = (NAMED[index][1] for index in sorted((one, other)))
    assert merit(make.machine(make.gpu(gib, name=fast))) >= merit(make.machine(make.gpu(gib, name=slow)))


if __name__ == "__main__":
    from tests.make import Make as Maker

    print(table(Maker()), end="")  # noqa: T201  # writing is what it is run for
