from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.types import Catalog, Needs
from concierge.config.keys import Llm
from concierge.endpoint import Endpoint
from concierge.machine.types import Libc
from concierge.plan import render
from concierge.plan.decide import plan
from concierge.plan.words import Plan, Running

if TYPE_CHECKING:
    from tests.make import Make

MIB = 1 << 20


@pytest.fixture
def fresh(make: Make) -> Plan:
    catalog = Catalog(
        builds=(
            make.build("cpu"),
            make.build("vulkan", size=30_000_000),
            make.build("cuda", needs=Needs(glibc="2.39")),
        ),
        models=(make.model("tiny", 10, 100 * MIB), make.model("small", 20, 500 * MIB)),
    )
    return plan(make.machine(make.gpu(), libc=Libc("glibc", "2.35")), Llm(), catalog)


def test_a_plan_reads_as_signs_then_reasons_then_what_was_not_taken_then_a_sum(fresh: Plan) -> None:
    assert render.text(fresh) == (
        "  + engine   llama-cpp b1 vulkan (vulkan), from example.org, 30.0 MB\n"
        "  + model    small Q4_K_M, from example.org, 524.3 MB\n"
        "  + server   starts with 32768 tokens of context, batch 2048, cache_ram 2048, gpu_layers 999, ubatch 512\n"
        "\n"
        "Why:\n"
        "  vulkan on NVIDIA GeForce RTX 4090: listed\n"
        "  small does the best work of all that fit\n"
        "  small needs 2.5 GB at 32768 tokens; there are 25.8 GB\n"
        "  32768 tokens of context: all that it was trained for\n"
        "  about 667 tokens/s predicted (467 to 901, by table), about 96130 read\n"
        "\n"
        "Not taken:\n"
        "  engine llama-cpp b1 cuda (cuda): needs glibc 2.39 or newer; this machine has 2.35\n"
        "  engine llama-cpp b1 cpu (cpu): vulkan comes first\n"
        "  model tiny: small ranks 20, this one 10\n"
        "\n"
        "Plan: 3 to create. 554.3 MB to fetch, about 44 s at 100 Mbit/s; 614.3 MB of disk needed.\n"
    )


def test_what_was_not_taken_can_be_left_out(fresh: Plan) -> None:
    assert "Not taken" not in render.text(fresh, rejected=False)


def test_a_plan_that_changes_nothing_says_so_and_its_exit_code_is_0(make: Make) -> None:
    endpoint = Endpoint("http://127.0.0.1:11434/v1", "small")
    adopted = plan(make.machine(), Llm(), Catalog(builds=(), models=()), Running(endpoint=endpoint))
    assert render.text(adopted).endswith("\nNothing to change.\n")
    assert render.exit_code(adopted) == 0


def test_a_plan_that_changes_something_has_exit_code_1(fresh: Plan) -> None:
    assert render.exit_code(fresh) == 1


def test_the_plan_as_data_is_json_with_the_same_numbers(fresh: Plan) -> None:
    data = json.loads(json.dumps(render.as_dict(fresh)))
    assert data["accelerator"] == "vulkan"
    assert data["model"] == "small"
    assert [change["action"] for change in data["changes"]] == ["+", "+", "+"]
    assert data["fetch_bytes"] == fresh.fetch_bytes
    assert data["would_change"] is True
    assert {"kind", "name", "cause", "reason", "accelerator"} == set(data["rejected"][0])
    assert data["sources"]["small.gguf"] == [{"kind": "https", "url": "https://example.org/small.gguf"}]
    assert data["trust"]["small.gguf"] == "seen"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (44, "44 s"), (89, "89 s"), (91, "2 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_a_time_is_said_the_way_people_say_it(seconds: float, words: str) -> None:
    assert render.duration(seconds) == words
