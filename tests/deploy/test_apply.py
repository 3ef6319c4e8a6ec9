from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.types import Artefact, Build, Model, PathSource, digest
from concierge.deploy.apply import FIRST_LOOK, RUNGS, Applier
from concierge.deploy.question import asked_digest
from concierge.errors import FetchError, NothingSuitableError, VerifyError
from concierge.plan.words import Choice, Failed, Plan, build_name
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources import local
from concierge.store.store import Store
from tests.make import Make

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

make = Make()


class Bench:
    """Builds and models of a few bytes each, and an applier that takes the builds in their order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.failures: list[tuple[Failed, ...]] = []

    def file(self, name: str, *, there: bool = True) -> Artefact:
        data = name.encode()
        if there:
            (self.folder / name).write_bytes(data)
        return Artefact(
            name=name,
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            trust="seen",
            sources=(PathSource(path=str(self.folder / name)),),
        )

    def build(self, name: str, *, there: bool = True) -> Build:
        return make.build("cpu", name, artefact=(self.file(name, there=there),), executable=name)

    def model(self, name: str = "tiny.gguf", *, there: bool = True) -> Model:
        return make.model("tiny", 1, 10, artefact=(self.file(name, there=there),))

    def applier(self, builds: Sequence[Build], model: Model, choice: Choice = "best-agent") -> Applier:
        def decide(failed: tuple[Failed, ...]) -> Plan:
            self.failures.append(failed)
            names = {one.name for one in failed}
            build = next((build for build in builds if build_name(build) not in names), None)
            if build is None:
                raise NothingSuitableError("Nothing is left.")
            parameters = (("ubatch", "512"), ("batch", "2048"))
            reasons = (f"{build_name(build)} is next", "it fits")
            return Plan(
                "llama-cpp", "cpu", build, model, "tiny", 512, choice, reasons, changes=(), parameters=parameters
            )

        store = Store(self.folder / "home" / "store")
        fetcher = Fetcher(store, {"path": local.copy}, Silent(), lambda _: None)
        return Applier(decide, (("model", "tiny"),), (("memory", "1"),), fetcher, self.said.append)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_was_decided_is_brought_and_is_not_current_before_it_is_proven(bench: Bench) -> None:
    build, model = bench.build("engine"), bench.model()
    made = bench.applier([build], model).apply()
    assert not (bench.folder / "home" / "generations").exists()
    assert (made.number, made.tools, made.failed) == (0, True, ())
    assert (made.question, made.marks) == ((("model", "tiny"),), (("memory", "1"),))
    assert made.asked == asked_digest(made.question)
    assert made.reasons == (f"{build_name(build)} is next", "it fits")
    spec = made.spec
    assert (spec.build, spec.engine, spec.accelerator) == (build_name(build), "llama-cpp", "cpu")
    assert (spec.engine_root / "engine").read_bytes() == b"engine"
    assert (spec.executable, spec.engine_sha256) == ("engine", digest(build.artefact))
    assert spec.model_path.read_bytes() == b"tiny.gguf"
    assert (spec.model, spec.model_sha256, spec.context) == ("tiny", digest(model.artefact), 512)
    assert spec.parameters == (("batch", "2048"), ("ubatch", "512"))
    assert bench.said == [f"Using {build_name(build)} with tiny: {build_name(build)} is next"]


def test_a_model_of_several_files_is_served_by_its_first(bench: Bench) -> None:
    model = make.model("tiny", 1, 10, artefact=(bench.file("1.gguf"), bench.file("2.gguf")))
    spec = bench.applier([bench.build("engine")], model).apply().spec
    assert spec.model_path.name == "1.gguf"
    assert (spec.model_path.parent / "2.gguf").is_file()


def test_an_engine_that_cannot_be_had_gives_way_to_the_next_and_it_is_said(bench: Bench) -> None:
    first, second = bench.build("first", there=False), bench.build("second")
    made = bench.applier([first, second], bench.model()).apply()
    assert made.spec.build == build_name(second)
    (failed,) = bench.failures[1]
    assert failed.name == build_name(first)
    assert str(bench.folder / "first") in failed.reason
    assert f"{build_name(first)} cannot be had: {failed.reason}" in bench.said
    assert made.failed == ((failed.name, failed.reason),)


@pytest.mark.promise("L41")
def test_after_the_last_rung_the_last_cause_is_the_error(bench: Bench) -> None:
    builds = [bench.build(f"engine{number}", there=False) for number in range(RUNGS + 1)]
    with pytest.raises(FetchError, match=f"engine{RUNGS - 1}"):
        bench.applier(builds, bench.model()).apply()
    assert [len(failed) for failed in bench.failures] == list(range(RUNGS))


def test_what_suits_and_cannot_be_had_is_the_cause_when_nothing_else_is_left(bench: Bench) -> None:
    builds = [bench.build(name, there=False) for name in ("one", "two")]
    with pytest.raises(FetchError, match="two"):
        bench.applier(builds, bench.model()).apply()


def test_a_machine_that_nothing_suits_is_told_so(bench: Bench) -> None:
    with pytest.raises(NothingSuitableError):
        bench.applier([], bench.model()).apply()


def test_the_last_rung_is_still_taken(bench: Bench) -> None:
    builds = [bench.build(f"engine{number}", there=number == RUNGS - 1) for number in range(RUNGS)]
    assert bench.applier(builds, bench.model()).apply().spec.build == build_name(builds[-1])


def test_wrong_bytes_are_no_reason_to_try_another_engine(bench: Bench) -> None:
    wrong, other = bench.build("wrong"), bench.build("other")
    (bench.folder / "wrong").write_bytes(b"gnorw")
    with pytest.raises(VerifyError):
        bench.applier([wrong, other], bench.model()).apply()
    assert len(bench.failures) == 1


@pytest.mark.parametrize(("choice", "offered"), [("best-quality-resident", True), ("asked", False)])
def test_a_model_that_cannot_be_had_is_an_error_that_names_one_from_elsewhere_unless_it_was_asked_for(
    bench: Bench, choice: Choice, offered: bool
) -> None:
    with pytest.raises(FetchError, match=r"lost\.gguf") as caught:
        bench.applier([bench.build("engine")], bench.model("lost.gguf", there=False), choice).apply()
    hint = caught.value.hint or ""
    assert "concierge lock" in hint
    assert (f"--model {FIRST_LOOK}" in hint) == offered
    assert caught.value.where == str(bench.folder / "lost.gguf")
