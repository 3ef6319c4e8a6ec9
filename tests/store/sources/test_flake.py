from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import Catalog, Needs
from concierge.config.keys import Llm
from concierge.errors import FetchError, NothingSuitableError
from concierge.machine.types import Libc
from concierge.plan.decide import plan
from concierge.plan.words import Failed, Running, build_name
from concierge.processes import Hear, Output, unheard
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources.nix import OFFERED, FromFlake, with_engines
from concierge.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from concierge.catalog.types import Build
    from concierge.platforms import System
    from concierge.processes import Follow
    from tests.make import Make

FLAKE = "/nix/store/abc-source"
BUILD = 9190


class FakeNix:
    """Builds an engine that says its arguments, and links to it as Nix does."""

    def __init__(self, folder: Path, *, code: int = 0) -> None:
        self.folder = folder
        self.code = code
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], *, seconds: float, err: Hear = unheard) -> Output:
        self.asked.append(command[-1])
        if self.code:
            err("error: no such attribute")
            return Output(self.code)
        server = self.folder / "bin" / "llama-server"
        server.parent.mkdir(parents=True, exist_ok=True)
        server.write_text('#!/bin/sh\necho "started with $*"\n', encoding="utf-8")
        server.chmod(0o755)
        link = self.folder.parent / command[command.index("--out-link") + 1]
        link.symlink_to(self.folder)
        return Output(0, f"{self.folder}\n")


def flake_build(system: System = "x86_64-linux", accelerator: str = "cpu") -> Build:
    builds = with_engines(load(), system, FLAKE, BUILD).builds
    return next(build for build in builds if build.version == "nix" and build.accelerator == accelerator)


@pytest.mark.parametrize("system", sorted(OFFERED))
def test_every_engine_of_the_flake_is_offered_and_asks_for_its_own_attribute(system: System) -> None:
    builds = [build for build in with_engines(load(), system, FLAKE, BUILD).builds if build.version == "nix"]
    assert tuple(build.accelerator for build in builds) == OFFERED[system]
    for build in builds:
        (source,) = build.artefact[0].sources
        assert source.kind == "nix"
        assert source.attribute == f"legacyPackages.{system}.engines.llama-cpp.{build.accelerator}"


def test_a_system_that_the_flake_does_not_know_keeps_its_catalogue() -> None:
    assert with_engines(load(), "x86_64-windows", FLAKE, BUILD) == load()


def test_two_flakes_are_two_artefacts() -> None:
    other = with_engines(load(), "x86_64-linux", "/nix/store/other-source", BUILD).builds
    assert flake_build().artefact[0].sha256 not in {build.artefact[0].sha256 for build in other}


def test_nix_brings_its_own_libraries_but_not_the_driver() -> None:
    cuda = flake_build(accelerator="cuda").needs
    assert cuda.glibc is None
    assert cuda.driver is not None
    catalogues = next(b for b in load().builds if (b.system, b.accelerator) == ("x86_64-linux", "cuda")).needs
    assert (cuda.driver, cuda.compute, cuda.vulkan) == (catalogues.driver, catalogues.compute, catalogues.vulkan)
    assert flake_build(accelerator="rocm").needs.gfx


def test_an_engine_that_only_the_flake_has_needs_nothing_that_is_known() -> None:
    builds = with_engines(Catalog(builds=(), models=()), "x86_64-linux", FLAKE, BUILD).builds
    assert {build.needs for build in builds} == {Needs()}


def test_an_engine_of_the_flake_needs_the_gpu_that_the_catalogues_needs(make: Make) -> None:
    needs = Needs(glibc="2.35", vulkan="1.3", gfx=("gfx1100",), compute=("7.5",), driver="580")
    catalog = Catalog(builds=(make.build("vulkan", needs=needs),), models=())
    ours = with_engines(catalog, "x86_64-linux", FLAKE, BUILD).builds
    assert {build.accelerator: build.needs for build in ours if build.version == "nix"} == {
        **dict.fromkeys(("cuda", "rocm", "cpu"), Needs()),
        "vulkan": needs.model_copy(update={"glibc": None}),
    }


def test_a_second_engine_of_the_flake_comes_into_the_same_home(tmp_path: Path) -> None:
    home, nix = tmp_path / "home", FakeNix(tmp_path / "engine")
    for accelerator in ("cpu", "vulkan"):
        assert fetcher(home, nix).fetch(flake_build(accelerator=accelerator).artefact).is_dir()
    assert nix.asked == [f"{FLAKE}#legacyPackages.x86_64-linux.engines.llama-cpp.{name}" for name in ("cpu", "vulkan")]


def test_the_plan_prefers_nix_where_nix_started_it(make: Make) -> None:
    catalog = with_engines(load(), "x86_64-linux", FLAKE, BUILD)
    decided = plan(make.machine(), Llm(model="smollm2-135m"), catalog)
    assert decided.build == flake_build()


@pytest.mark.parametrize("foreign", ["", "programs that Nix did not build do not start on NixOS"])
def test_a_model_is_judged_by_the_llama_cpp_that_nix_has(make: Make, foreign: str) -> None:
    machine = make.machine(ram=64, libc=Libc("glibc", "2.42", foreign=foreign))
    for build in (BUILD, 11000, None):
        decided = plan(machine, Llm(), with_engines(load(), "x86_64-linux", FLAKE, build))
        assert decided.build is not None
        assert decided.build.version == "nix"
        assert decided.model is not None
        assert (decided.model.minimum_build or 0) <= (build or 0)


def test_a_model_that_is_too_new_for_nix_is_had_by_its_name_with_an_engine_of_the_catalogue(make: Make) -> None:
    catalog = with_engines(load(), "x86_64-linux", FLAKE, 1)
    new = max((model for model in catalog.models if (model.minimum_build or 0) > 1), key=lambda model: model.rank)
    decided = plan(make.machine(ram=256), Llm(), catalog)
    refused = {entry.name: entry.reason for entry in decided.rejected if entry.cause == "engine-build"}
    assert "Nix's is older: ask for it by name" in refused[new.name]
    asked = plan(make.machine(ram=256), Llm(model=new.name), catalog)
    assert asked.build is not None
    assert asked.build.version != "nix"
    nixos = make.machine(ram=256, libc=Libc("glibc", "2.42", foreign="nothing foreign starts"))
    with pytest.raises(NothingSuitableError, match="which no build for this device has"):
        plan(nixos, Llm(model=new.name), catalog)


def test_the_plan_falls_back_to_the_catalogue_when_nix_could_not(make: Make) -> None:
    catalog = with_engines(load(), "x86_64-linux", FLAKE, BUILD)
    failed = tuple(Failed(build_name(build), "no") for build in catalog.builds if build.version == "nix")
    decided = plan(make.machine(), Llm(model="smollm2-135m"), catalog, Running(failed=failed))
    assert decided.build is not None
    assert decided.build.version != "nix"
    assert decided.build.accelerator == "cpu"


def fetcher(home: Path, run: Follow) -> Fetcher:
    source = FromFlake(FLAKE, home, lambda _: None, run)
    return Fetcher(Store(home / "store"), {"nix": source}, Silent(), lambda _: None)


@pytest.mark.skipif(sys.platform == "win32", reason="Nix does not run on Windows")
def test_what_comes_into_the_store_starts_what_nix_built(tmp_path: Path) -> None:
    build = flake_build()
    entry = fetcher(tmp_path / "home", FakeNix(tmp_path / "engine")).fetch(build.artefact)
    program = entry / (build.executable or "")
    assert hashlib.sha256(program.read_bytes()).hexdigest() == build.artefact[0].sha256
    done = subprocess.run([program, "--port", "1"], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == "started with --port 1\n"


def test_a_nix_that_fails_leaves_nothing_in_the_store(tmp_path: Path) -> None:
    build = flake_build()
    source = fetcher(tmp_path / "home", FakeNix(tmp_path / "engine", code=1))
    with pytest.raises(FetchError, match="no such attribute"):
        source.fetch(build.artefact)
    assert not source.store.has(build.artefact)
