"""What is chosen on machines for which public guides and measurements say what an expert would choose."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import Catalog
from concierge.config.keys import Llm
from concierge.machine import bundle
from concierge.machine.read.machine import read
from concierge.plan.decide import plan

MACHINES = Path(__file__).parent.parent / "choice"
CATALOG = load()
NO_BUILD = {"28-jetson-orin-nano"}
"""No CUDA build is pinned that runs on glibc 2.35 with code for sm_87: the CPU is what there is."""


def expected() -> list[list[str]]:
    lines = (MACHINES / "expected.tsv").read_text(encoding="utf-8").splitlines()
    return list(csv.reader(lines[1:], delimiter="\t"))


def span(text: str) -> tuple[float, float]:
    low, high = text.split("-")
    return float(low) * 1e9, float(high) * 1e9


@pytest.mark.parametrize("row", expected(), ids=lambda row: row[1])
def test_the_choice_is_one_that_an_expert_would_make(row: list[str]) -> None:
    _, folder, accelerators, sizes, context, _, refused = row
    found = plan(read(bundle.load(MACHINES / folder / "bundle.json")), Llm(), CATALOG)
    assert found.model is not None
    total, active = sizes.split("/")
    assert span(total)[0] <= found.model.params <= span(total)[1]
    assert span(active)[0] <= (found.model.params_active or found.model.params) <= span(active)[1]
    assert (found.context or 0) >= int(context)
    assert found.model_name not in refused.split(", ")
    assert found.accelerator in accelerators.split(", ") or folder in NO_BUILD


@pytest.mark.slow
def test_a_thousand_models_are_weighed_within_a_blink() -> None:
    """50 ms are wanted on an ordinary computer; ten times that tells a loop that has gone wrong, on any."""
    many = [model.model_copy(update={"name": f"{model.name}-{n}"}) for n in range(40) for model in CATALOG.models][
        :1000
    ]
    machine = read(bundle.load(MACHINES / "07-rtx-3090-24gb" / "bundle.json"))
    catalog = Catalog(builds=CATALOG.builds, models=tuple(many))
    plan(machine, Llm(), catalog)
    began = time.perf_counter()
    plan(machine, Llm(), catalog)
    assert time.perf_counter() - began < 2.0
