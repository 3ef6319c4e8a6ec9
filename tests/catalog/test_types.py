from __future__ import annotations

import hashlib

import pytest

from concierge.catalog.flags import ALL_LAYERS, PARAMETERS, parameters, prompt_cache_mib
from concierge.catalog.types import Catalog, HttpsSource, PypiSource, digest, room
from concierge.platforms import ACCELERATORS
from tests.make import Make

make = Make()


def test_a_lone_artefact_stands_for_itself_and_several_for_their_hashes_in_order() -> None:
    one, two = make.artefact("one", 1), make.artefact("two", 2)
    assert digest([one]) == one.sha256
    assert digest([one, two]) == hashlib.sha256(f"{one.sha256}\n{two.sha256}".encode()).hexdigest()
    assert digest([one, two]) != digest([two, one])


def test_an_archive_is_there_packed_and_unpacked_and_a_file_once() -> None:
    archive, file = make.artefact("a.zip", 100, archive="zip"), make.artefact("m.gguf", 1000)
    assert (room([archive]), room([file]), room([archive, file]), room([])) == (300, 1000, 1300, 0)


def test_a_wheel_is_there_twice_and_what_is_taken_out_of_it_beside_it() -> None:
    whole = PypiSource(package="p", version="1")
    member = PypiSource(package="p", version="1", member="m.gguf", wheel_size=600)
    assert room([make.artefact("a.whl", 100, archive="zip", sources=(whole,))]) == 400
    assert room([make.artefact("m.gguf", 1000, sources=(member,))]) == 2200
    assert room([make.artefact("m.gguf", 1000, sources=(HttpsSource(url="https://x.invalid/m"), member))]) == 2200


def test_a_model_is_found_by_its_whole_name_only() -> None:
    one, two = make.model("tiny", 1, 1), make.model("tiny-2", 2, 2)
    catalog = Catalog(builds=(), models=(one, two))
    assert [catalog.model(name) for name in ("tiny", "tiny-2", "tin", "")] == [one, two, None, None]


def test_the_size_of_an_entry_is_that_of_all_its_artefacts() -> None:
    parts = (make.artefact("1", 10), make.artefact("2", 5))
    assert make.build(artefact=parts).size == make.model("m", 1, 1, artefact=parts).size == 15


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_all_layers_go_to_the_accelerator_or_none(accelerator: str) -> None:
    found = parameters(accelerator)  # type: ignore[arg-type]
    layers = "0" if accelerator == "cpu" else ALL_LAYERS
    assert dict(found) == {**dict(PARAMETERS), "cache_ram": "512", "gpu_layers": layers}
    assert list(found) == sorted(found)


def test_what_differs_from_the_ordinary_is_given_and_nothing_else() -> None:
    found = dict(parameters("cuda", kv_type="q8_0", host_layers=7, ubatch=2048, prompt_cache=2048, threads=6, card=1))
    assert {name: value for name, value in found.items() if name not in dict(parameters("cuda"))} == {
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "cpu_moe": "7",
        "threads": "6",
        "split_mode": "none",
        "main_gpu": "1",
    }
    assert (found["ubatch"], found["cache_ram"]) == ("2048", "2048")


@pytest.mark.parametrize(("gib", "mib"), [(None, 512), (4, 512), (16, 1024), (64, 4096), (512, 8192)])
def test_old_prompts_take_a_sixteenth_of_main_memory(gib: int | None, mib: int) -> None:
    assert prompt_cache_mib(gib and gib << 30) == mib
