from __future__ import annotations

import csv
import statistics
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.fit import speed
from concierge.fit.speed import NO_CLAIM, UNKNOWN, Part, Speed, Throughput
from tests.fit.shapes import SHAPES

GIB = 1 << 30


def device(name: str, vendor: str, *, kind: str = "discrete", chips: tuple[str, ...] = (), gib: int = 0) -> Throughput:
    return speed.device(name, vendor=vendor, kind=kind, chips=chips, memory=gib * GIB or None)


def told(name: str, weights: int, *on: Throughput, depth: int = 0) -> Speed:
    shape = SHAPES[name]
    parts = [Part(each, 1 / len(on), 1 / len(on)) for each in on]
    return speed.predict(shape.facts, weights, active=int(shape.active), on=parts, depth=depth)


@pytest.mark.parametrize(
    ("name", "vendor", "gib", "gb_s"),
    [
        ("NVIDIA GeForce RTX 4090", "nvidia", 24, 1008 * 0.78),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "nvidia", 16, 576 * 0.78),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "nvidia", 16, 672 * 0.78),
        ("NVIDIA GeForce RTX 3060", "nvidia", 12, 360 * 0.78),
        ("NVIDIA GeForce RTX 3060", "nvidia", 8, 240 * 0.78),
        ("NVIDIA GeForce RTX 3060", "nvidia", 0, 240 * 0.78),
        ("NVIDIA RTX 6000 Ada Generation", "nvidia", 48, 960 * 0.78),
        ("NVIDIA A100-SXM4-80GB", "nvidia", 80, 2039 * 0.52),
        ("NVIDIA A100-PCIE-40GB", "nvidia", 40, 1555 * 0.52),
        ("NVIDIA A100 80GB PCIe", "nvidia", 80, 1935 * 0.52),
        ("NVIDIA H100 80GB HBM3", "nvidia", 80, 3350 * 0.52),
        ("NVIDIA H100 PCIe", "nvidia", 80, 2000 * 0.52),
        ("NVIDIA GB10", "nvidia", 120, 273 * 0.78),
        ("Tesla P40", "nvidia", 24, 346 * 0.70),
        ("AMD Radeon RX 7900 XTX", "amd", 24, 960 * 0.86),
        ("AMD Radeon RX 7900 XT", "amd", 20, 800 * 0.86),
        ("Radeon 8060S Graphics", "amd", 96, 256 * 0.86),
        ("Intel(R) Arc(TM) B580 Graphics", "intel", 12, 456 * 0.80),
        ("Apple M3", "apple", 16, 100 * 0.82),
        ("Apple M3 Max", "apple", 36, 300 * 0.82),
        ("Apple M3 Max", "apple", 64, 400 * 0.82),
        ("Apple M4 Max", "apple", 128, 546 * 0.82),
        ("Apple M5 Pro", "apple", 24, 307 * 0.82),
        ("Apple M3 Ultra", "apple", 512, 819 * 0.48),
    ],
)
def test_a_known_device_has_the_bandwidth_of_its_data_sheet_and_its_memory_tells_products_apart(
    name: str, vendor: str, gib: int, gb_s: float
) -> None:
    found = device(name, vendor, gib=gib)
    assert found.source == "table"
    assert found.likely == pytest.approx(gb_s)
    assert found.low < found.likely < found.high


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce GTX 1060 with Max-Q Design", "NVIDIA GeForce RTX 9999", ""],
)
def test_an_unknown_relative_of_a_known_device_is_judged_by_its_kind(name: str) -> None:
    found = device(name, "nvidia")
    assert found.source == "class"
    assert found.low < found.likely < found.high


@pytest.mark.parametrize(
    ("name", "vendor", "chips", "gb_s"),
    [
        ("AMD Radeon Graphics (RADV GFX1151)", "amd", ("1002:1586", "gfx1151"), 256),
        ("AMD Radeon Graphics", "amd", ("gfx1151",), 256),
        ("NVIDIA device 10de:2e12", "nvidia", ("10de:2e12",), 273),
        ("NVIDIA Graphics Device", "nvidia", ("sm_121",), 273),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "amd", ("1002:744c", "gfx1100"), 960),
        ("AMD device 1002:744c", "amd", ("1002:744c",), 576),
        ("AMD device 1002:7448", "amd", ("1002:7448", "gfx1100"), 576),
        ("Intel device 8086:e20b", "intel", ("8086:e20b",), 456),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "nvidia", ("sm_87",), 68),
        ("NVIDIA Jetson AGX Thor Developer Kit", "nvidia", ("sm_110",), 273),
    ],
)
def test_a_device_without_a_product_name_is_known_by_its_chip(
    name: str, vendor: str, chips: tuple[str, ...], gb_s: float
) -> None:
    found = device(name, vendor, chips=chips)
    assert found.source == "table"
    assert found.likely == pytest.approx(gb_s * {"nvidia": 0.78, "amd": 0.86}.get(vendor, 0.80))


def test_a_chip_that_nothing_is_known_of_is_judged_by_its_kind() -> None:
    # Its memory is whatever the maker of the computer put beside it.
    assert device("AMD Radeon Graphics", "amd", kind="integrated", chips=("gfx1103",)).source == "class"


def test_a_variant_of_a_known_device_is_not_that_device() -> None:
    assert device("Apple M4 Ultra", "apple", kind="unified").source == "class"
    assert device("AMD Radeon RX 7800 XTX", "amd").source == "class"


@pytest.mark.parametrize(
    ("model", "cores", "gb_s"),
    [
        ("AMD EPYC 9454P 48-Core Processor", 48, 460),
        ("AMD EPYC 9454P 48-Core Processor", 4, 48),  # a small part of a server is not given all its channels
        ("INTEL(R) XEON(R) PLATINUM 8592+", 64, 358),
        ("Intel(R) Core(TM) i5-7200U CPU @ 2.50GHz", 2, 36),
        ("Raspberry Pi 5 Model B Rev 1.0", 4, 17),
        ("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", 8, 90),
        ("AMD Ryzen 7 5800X 8-Core Processor", 8, 47),
        ("Snapdragon(R) X Elite - X1E80100", 12, 135),
    ],
)
def test_a_processor_is_known_by_its_memory_channels(model: str, cores: int, gb_s: float) -> None:
    found = speed.host(model, cores=cores, level=None)
    assert found.source == "table"
    assert found.likely == pytest.approx(gb_s * 0.54)


def test_an_unknown_processor_has_the_range_of_all() -> None:
    assert speed.host("", cores=None, level=None).source == "class"


def test_wider_instructions_and_more_cores_read_a_prompt_faster() -> None:
    few, wide, many = (
        speed.host("", cores=cores, level=level).flops
        for cores, level in ((4, "x86-64-v3"), (4, "x86-64-v4"), (8, "x86-64-v4"))
    )
    assert few < wide < many


def test_nothing_is_claimed_of_an_unknown_memory() -> None:
    assert device("Something", "other", kind="unknown") == UNKNOWN
    assert told("qwen3-8b", 5 * 10**9, UNKNOWN) == NO_CLAIM


def test_a_token_costs_the_weights_and_the_cache_divided_by_the_bandwidth_and_time_for_each_layer() -> None:
    on = Throughput(100, 200, 400, "table", layer_s=1e-4)
    shallow, deep = (told("qwen3-8b", 5_000_000_000, on, depth=depth) for depth in (0, 32_768))
    assert shallow.likely == pytest.approx(1 / (5 / 200 + 36e-4))
    assert shallow.low == pytest.approx((shallow.likely or 0) / 2)
    assert deep.likely == pytest.approx(1 / ((5e9 + 32_768 * 144 * 1024) / 200e9 + 36e-4))
    assert deep.source == "table"


def test_layers_over_two_cards_take_the_time_of_each_share() -> None:
    one, other = Throughput(100, 100, 100, "table"), Throughput(300, 300, 300, "class")
    both = told("qwen3-8b", 6_000_000_000, one, other)
    assert both.likely == pytest.approx(1 / (3 / 100 + 3 / 300))
    assert both.source == "class"


def test_experts_in_main_memory_are_read_from_there() -> None:
    shape, weights = SHAPES["qwen3-30b-a3b"], 18_600_000_000
    card, main = Throughput(1000, 1000, 1000, "table"), Throughput(50, 50, 50, "table")
    on = [Part(card, 1, 0.25), Part(main, 0, 0.75)]
    split = speed.predict(shape.facts, weights, active=int(shape.active), on=on, depth=0)
    experts = speed.active_expert_bytes(shape.facts, weights)
    common = int(weights * shape.facts.active) - experts
    assert split.likely == pytest.approx(1 / ((common + experts / 4) / 1000e9 + experts * 3 / 4 / 50e9), rel=1e-3)
    assert experts + common < weights / 8 < speed.expert_bytes(shape.facts, weights)


def test_a_prompt_is_read_slower_when_experts_are_brought_for_each_batch() -> None:
    near = speed.streamed(8000, experts=12 * 10**9, batch=2048)
    assert near == pytest.approx(2048 / (2048 / 8000 + 2.0))
    assert speed.streamed(None, experts=1, batch=512) is None


def test_a_mixture_in_main_memory_beats_a_dense_model_of_its_size_there() -> None:
    main = speed.host("", cores=4, level=None)
    mixture, dense = told("qwen3-30b-a3b", 18 * 10**9, main), told("qwen3-14b", 9 * 10**9, main)
    assert (mixture.likely or 0) > 3 * (dense.likely or 0) > 0


@dataclass(frozen=True)
class Run:
    """A published run and what is predicted of it."""

    name: str
    seen: float
    told: Speed

    @property
    def factor(self) -> float:
        return (self.told.likely or 0) / self.seen

    @property
    def inside(self) -> bool:
        return (self.told.low or 0) <= self.seen <= (self.told.high or 0)


def published() -> list[Run]:
    lines = (Path(__file__).parent / "speeds.tsv").read_text(encoding="utf-8").splitlines()
    runs = []
    for line in csv.reader((line for line in lines if not line.startswith("#")), delimiter="\t"):
        name, vendor, kind, gib, cores, level, model, size, seen, _ = line
        on = (
            speed.host(name, cores=int(cores), level=level)
            if kind == "host"
            else device(name, vendor, kind=kind, gib=int(gib or 0))
        )
        runs.append(Run(f"{name}, {model}", float(seen), told(model, int(size), on, depth=128)))
    return runs


PUBLISHED = published()


def test_half_of_the_published_runs_are_predicted_within_a_fifth() -> None:
    assert len(PUBLISHED) >= 59
    assert statistics.median(abs(run.factor - 1) for run in PUBLISHED) <= 0.20


def test_nine_of_ten_published_runs_lie_in_the_printed_range() -> None:
    outside = [f"{run.name}: {run.factor:.2f}" for run in PUBLISHED if not run.inside]
    assert len(outside) <= len(PUBLISHED) / 10, outside


@pytest.mark.parametrize("run", PUBLISHED, ids=lambda run: run.name)
def test_no_published_run_is_predicted_wrong_by_a_factor_of_two(run: Run) -> None:
    assert 0.5 <= run.factor <= 2


@given(st.floats(1, 5000), st.floats(1, 5000), st.sampled_from(sorted(SHAPES)))
def test_more_bandwidth_is_never_slower(one: float, other: float, name: str) -> None:
    slow, fast = sorted((one, other))
    speeds = [told(name, 10**9, Throughput(gb_s, gb_s, gb_s, "table")).likely or 0 for gb_s in (slow, fast)]
    assert speeds[0] <= speeds[1]


def test_the_table_holds_figures_that_can_be() -> None:
    table = tomllib.loads((files("concierge.fit") / "bandwidth.toml").read_text(encoding="utf-8"))
    chips, hosts = table.pop("chip"), table.pop("host")
    assert set(table) == {"nvidia", "amd", "intel", "apple"}
    for figures in table.values():
        assert all(name == name.lower() for name in figures)
        assert all(30 <= figure <= 10_000 for figure in figures.values())
    assert all(10 <= figure <= 1000 for figure in hosts.values())
    maker = {"10de": "nvidia", "sm_": "nvidia", "1002": "amd", "gfx": "amd", "8086": "intel"}
    for chip, product in chips.items():
        (vendor,) = {vendor for start, vendor in maker.items() if chip.startswith(start)}
        assert product in table[vendor], chip
