from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.catalog import loader
from concierge.catalog.types import Catalog, Needs
from concierge.config.keys import Llm
from concierge.machine.types import Libc
from concierge.plan import listing
from concierge.plan.words import build_name

if TYPE_CHECKING:
    from tests.make import Make

GIB = 1 << 30


def test_models_are_listed_best_first_with_the_device_that_carries_them(make: Make) -> None:
    builds = (make.build("cpu"), make.build("cuda"))
    models = (make.model("a", 1, GIB), make.model("b", 3, 12 * GIB), make.model("c", 2, 90 * GIB))
    rows = listing.models(make.machine(make.gpu(8)), Catalog(builds=builds, models=models), Llm())
    assert [(row.name, row.fits, row.accelerator) for row in rows] == [
        ("b", True, "cpu"),
        ("c", False, None),
        ("a", True, "cuda"),
    ]
    assert "by class)" in rows[0].reason
    assert rows[1].reason.startswith("needs ")
    assert rows[2].slow is not None
    assert rows[2].licence == "Apache-2.0"


def test_a_row_carries_what_its_build_says_of_itself(make: Make) -> None:
    build = make.build("cpu", size=7, version="b9", licence="MIT", proven=True)
    (row,) = listing.engines(make.machine(), Catalog(builds=(build,), models=()))
    assert (row.name, row.engine, row.version, row.accelerator) == (build_name(build), "llama-cpp", "b9", "cpu")
    assert (row.size, row.licence, row.proven, row.fits) == (7, "MIT", True, True)


def test_a_build_whose_needs_cannot_be_checked_is_listed_with_its_doubt(make: Make) -> None:
    build = make.build("cpu", needs=Needs(glibc="2.35"))
    (row,) = listing.engines(make.machine(libc=Libc("glibc")), Catalog(builds=(build,), models=()))
    assert row.reason.startswith("not sure: needs glibc 2.35")


def test_a_model_is_listed_with_its_size_and_its_terms_even_where_no_engine_runs(make: Make) -> None:
    model = make.model("a", 1, GIB, title="A Model", gated=True)
    (row,) = listing.models(make.machine(), Catalog(builds=(), models=(model,)), Llm())
    assert (row.name, row.title, row.size, row.licence, row.gated) == ("a", "A Model", GIB, "Apache-2.0", True)
    assert (row.fits, row.reason, row.memory, row.speed_source) == (False, "no engine runs here", None, "unknown")


def test_engines_are_listed_those_that_run_first_and_the_others_with_their_reason(make: Make) -> None:
    builds = (make.build("cpu"), make.build("cuda", needs=Needs(glibc="2.39")), make.build("vulkan"))
    arm = make.build("cpu", "arm", system="aarch64-linux")
    machine = make.machine(make.gpu(), libc=Libc("glibc", "2.35"))
    rows = listing.engines(machine, Catalog(builds=(*builds, arm), models=()))
    assert [(row.accelerator, row.fits) for row in rows] == [("vulkan", True), ("cpu", True), ("cuda", False)]
    assert rows[2].reason == "needs glibc 2.39 or newer; this machine has 2.35"


def test_an_engine_that_concierge_cannot_start_is_listed_as_such(make: Make) -> None:
    ollama = make.build("cpu", engine="ollama", launcher="ollama")
    rows = listing.engines(make.machine(), Catalog(builds=(ollama,), models=()))
    assert [(row.fits, row.reason) for row in rows] == [
        (False, "concierge cannot start ollama; start it yourself and set llm.base_url")
    ]


def test_the_whole_catalogue_is_listed_on_every_kind_of_machine(make: Make) -> None:
    catalog = loader.load()
    for machine in (make.machine(), make.machine(make.gpu()), make.machine(system=None), make.machine(ram=None)):
        assert len(listing.models(machine, catalog, Llm())) == len(catalog.models)
