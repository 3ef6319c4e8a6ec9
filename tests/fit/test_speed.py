from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.catalog.loader import load
from concierge.fit.speed import UNKNOWN, Bandwidth, bandwidth_of, predict

if TYPE_CHECKING:
    from concierge.catalog.types import Gguf, Model

CATALOG = load()
HOST = bandwidth_of("", vendor="", kind="host")


def model(name: str) -> Model:
    found = CATALOG.model(name)
    assert found is not None
    return found


def facts(name: str) -> Gguf:
    found = model(name).gguf
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "vendor", "gb_s"),
    [
        ("NVIDIA GeForce RTX 4090", "nvidia", 1008),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "nvidia", 576),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "nvidia", 672),
        ("NVIDIA GeForce RTX 3060", "nvidia", 240),
        ("NVIDIA RTX 6000 Ada Generation", "nvidia", 960),
        ("NVIDIA A100-SXM4-80GB", "nvidia", 1555),
        ("NVIDIA GB10", "nvidia", 273),
        ("Tesla P40", "nvidia", 346),
        ("AMD Radeon RX 7900 XTX", "amd", 960),
        ("AMD Radeon RX 7900 XT", "amd", 800),
        ("Radeon 8060S Graphics", "amd", 256),
        ("Intel(R) Arc(TM) B580 Graphics", "intel", 456),
        ("Apple M3", "apple", 100),
        ("Apple M4 Max", "apple", 410),
    ],
)
def test_a_known_device_has_the_bandwidth_of_its_data_sheet(name: str, vendor: str, gb_s: float) -> None:
    efficiency = {"nvidia": 0.64, "apple": 0.70}.get(vendor, 0.55)
    found = bandwidth_of(name, vendor=vendor, kind="discrete")
    assert found.source == "table"
    assert found.likely == pytest.approx(gb_s * efficiency)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA GeForce GTX 1060 with Max-Q Design", "NVIDIA GeForce RTX 9999", ""],
)
def test_an_unknown_relative_of_a_known_device_is_judged_by_its_kind(name: str) -> None:
    found = bandwidth_of(name, vendor="nvidia", kind="discrete")
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
    found = bandwidth_of(name, vendor=vendor, kind="discrete", chips=chips)
    assert found.source == "table"
    assert found.likely == pytest.approx(gb_s * {"nvidia": 0.64}.get(vendor, 0.55))


def test_a_chip_that_nothing_is_known_of_is_judged_by_its_kind() -> None:
    # Its memory is whatever the maker of the computer put beside it.
    assert bandwidth_of("AMD Radeon 890M", vendor="amd", kind="integrated", chips=("gfx1150",)).source == "class"


def test_a_variant_of_a_known_device_is_not_that_device() -> None:
    assert bandwidth_of("Apple M4 Ultra", vendor="apple", kind="unified").source == "class"
    assert bandwidth_of("AMD Radeon RX 7800 XTX", vendor="amd", kind="discrete").source == "class"


def test_nothing_is_claimed_of_an_unknown_memory() -> None:
    assert bandwidth_of("Something", vendor="other", kind="unknown") == UNKNOWN
    told = predict(facts("qwen3-8b"), model("qwen3-8b").size, memory=UNKNOWN, depth=4096)
    assert (told.low, told.likely, told.high, told.source) == (None, None, None, "unknown")


def test_a_token_costs_the_weights_and_the_cache_divided_by_the_bandwidth() -> None:
    device = Bandwidth(100, 200, 400, "table")
    weights = model("qwen3-8b").size
    shallow = predict(facts("qwen3-8b"), weights, memory=device, depth=0)
    assert shallow.likely == pytest.approx(200e9 / weights)
    assert shallow.low == pytest.approx(100e9 / weights)
    deep = predict(facts("qwen3-8b"), weights, memory=device, depth=32_768)
    assert deep.likely == pytest.approx(200e9 / (weights + 32_768 * 144 * 1024))
    assert deep.source == "table"


def test_a_mixture_in_main_memory_beats_a_dense_model_of_its_size_there() -> None:
    weights = model("qwen3-30b-a3b").size
    mixture = predict(facts("qwen3-30b-a3b"), weights, memory=HOST, depth=4096)
    dense = predict(facts("qwen3-14b"), weights, memory=HOST, depth=4096)
    assert mixture.likely is not None
    assert dense.likely is not None
    assert mixture.likely > 5 * dense.likely


# Runs that public projects report: bytes of weights, GB/s as the vendor states it, tokens a second.
REPORTED = [
    ("NVIDIA GeForce RTX 4090", "nvidia", 16.2e9, 40),  # a dense 27B at Q4
]


@pytest.mark.parametrize(("name", "vendor", "weights", "seen"), REPORTED)
def test_a_reported_run_lies_in_the_predicted_range(name: str, vendor: str, weights: float, seen: float) -> None:
    device = bandwidth_of(name, vendor=vendor, kind="discrete")
    told = predict(facts("qwen3-14b"), int(weights), memory=device, depth=0)
    assert told.low is not None
    assert told.high is not None
    assert told.low <= seen <= told.high


@given(st.floats(1, 5000), st.floats(1, 5000), st.sampled_from([m.name for m in CATALOG.models]))
def test_more_bandwidth_is_never_slower(one: float, other: float, name: str) -> None:
    slow, fast = sorted((one, other))
    speeds = [
        predict(facts(name), model(name).size, memory=Bandwidth(gb_s, gb_s, gb_s, "table"), depth=0).likely or 0
        for gb_s in (slow, fast)
    ]
    assert speeds[0] <= speeds[1]


def test_the_table_holds_figures_that_can_be() -> None:
    table = tomllib.loads((files("concierge.fit") / "bandwidth.toml").read_text(encoding="utf-8"))
    chips = table.pop("chip")
    assert set(table) == {"nvidia", "amd", "intel", "apple"}
    for figures in table.values():
        assert all(name == name.lower() for name in figures)
        assert all(30 <= figure <= 10_000 for figure in figures.values())
    maker = {"10de": "nvidia", "sm_": "nvidia", "1002": "amd", "gfx": "amd", "8086": "intel"}
    for chip, product in chips.items():
        (vendor,) = {vendor for start, vendor in maker.items() if chip.startswith(start)}
        assert product in table[vendor], chip
