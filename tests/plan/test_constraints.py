from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from concierge.catalog.types import Needs, NixSource
from concierge.machine.types import Driver, Libc, Library, Os, Usable
from concierge.plan import constraints
from concierge.plan.constraints import Candidate, examine
from concierge.plan.words import Rejected
from concierge.units import number

if TYPE_CHECKING:
    from tests.make import Make


def rejection(verdict: tuple[Candidate, ...] | Rejected) -> tuple[str, str]:
    assert isinstance(verdict, Rejected), verdict
    return verdict.cause, verdict.reason


def test_a_build_without_needs_is_a_candidate_everywhere(make: Make) -> None:
    build = make.build("cpu")
    assert examine(make.machine(), build) == (Candidate(build),)


@pytest.mark.parametrize(
    ("libc", "cause"),
    [
        (Libc("glibc", "2.35"), None),
        (Libc("glibc", "2.39"), None),
        (Libc("glibc", "2.31"), "needs glibc 2.35 or newer; this machine has 2.31"),
        (Libc("musl", "1.2.5"), "needs glibc 2.35; this machine has musl"),
        (Libc("none"), "needs glibc 2.35; this machine has no glibc"),
    ],
)
def test_the_glibc_floor_is_kept(make: Make, libc: Libc, cause: str | None) -> None:
    verdict = examine(make.machine(libc=libc), make.build(needs=Needs(glibc="2.35")))
    assert isinstance(verdict, tuple) if cause is None else rejection(verdict) == ("glibc", cause)


def test_what_the_machine_does_not_say_leaves_a_doubt_and_no_rejection(make: Make) -> None:
    verdict = examine(make.machine(libc=Libc("glibc")), make.build(needs=Needs(glibc="2.35")))
    assert isinstance(verdict, tuple)
    assert verdict[0].unsure == ("needs glibc 2.35 or newer, and this machine does not say which it has",)


@pytest.mark.parametrize(("version", "met"), [("580.1", True), ("570.2", False)])
def test_a_card_that_does_not_tell_its_driver_has_the_machines(make: Make, version: str, met: bool) -> None:
    silent = make.gpu(driver=Driver("nvidia", usable=True))
    machine = make.machine(silent, make.gpu(id="0000:02:00.0", driver=Driver("nvidia", version, usable=True)))
    verdict = examine(machine, make.build("cuda", needs=Needs(driver="575")))
    assert isinstance(verdict, tuple) == met
    if isinstance(verdict, tuple):
        assert [(len(candidate.devices), candidate.unsure) for candidate in verdict] == [(1, ()), (1, ()), (2, ())]


@pytest.mark.parametrize(("version", "ok"), [("580", True), ("580.65.06", True), ("579.99", False), ("610.1", True)])
def test_the_driver_floor_is_compared_by_number(make: Make, version: str, ok: bool) -> None:
    gpu = make.gpu(driver=Driver("nvidia", version, usable=True))
    verdict = examine(make.machine(gpu), make.build("cuda", needs=Needs(driver="580")))
    if ok:
        assert isinstance(verdict, tuple)
    else:
        assert rejection(verdict) == ("driver", f"needs nvidia driver 580 or newer; this machine has {version}")


@pytest.mark.parametrize(("capability", "ok"), [("7.5", True), ("12.1", True), ("13.0", True), ("6.1", False)])
def test_a_cuda_build_runs_on_its_oldest_capability_and_everything_newer(make: Make, capability: str, ok: bool) -> None:
    machine = make.machine(make.gpu(compute_capability=capability))
    verdict = examine(machine, make.build("cuda", needs=Needs(compute=("7.5", "8.6"))))
    assert isinstance(verdict, tuple) == ok


def test_a_rocm_build_runs_only_on_the_targets_it_holds(make: Make) -> None:
    build = make.build("rocm", needs=Needs(gfx=("gfx1100", "gfx1201")))
    rocm = {"rocm": Usable(ok=True, reason="kfd")}
    held = make.gpu(vendor="amd", gfx_target="gfx1100", compute_capability=None, accelerators=rocm)
    assert isinstance(examine(make.machine(held), build), tuple)
    other = replace(held, gfx_target="gfx1031")
    assert rejection(examine(make.machine(other), build)) == (
        "gfx",
        "holds no code for gfx1031, only for gfx1100, gfx1201",
    )


def test_an_unusable_accelerator_is_rejected_with_the_probe_s_own_reason(make: Make) -> None:
    gpu = make.gpu(accelerators={"cuda": Usable(ok=False, reason="cuInit fails: 803")})
    assert rejection(examine(make.machine(gpu), make.build("cuda"))) == ("accelerator", "cuInit fails: 803")
    assert rejection(examine(make.machine(), make.build("rocm"))) == ("accelerator", "no device here is one for rocm")


def test_only_the_cards_that_meet_the_build_are_candidates(make: Make) -> None:
    old = make.gpu(24, id="0000:01:00.0", compute_capability="5.2")
    new = make.gpu(8, id="0000:02:00.0", compute_capability="8.9")
    newer = make.gpu(4, id="0000:03:00.0", compute_capability="12.0")
    build = make.build("cuda", needs=Needs(compute=("7.5",)))
    assert examine(make.machine(old, new, newer), build) == (
        Candidate(build, new),
        Candidate(build, newer),
        Candidate(build, new, (), (newer,)),
    )


def test_cards_are_taken_together_and_a_graphics_unit_is_not_among_them(make: Make) -> None:
    card, other = make.gpu(24), make.gpu(24, id="0000:02:00.0")
    unit = make.gpu(kind="integrated", id="0000:00:02.0")
    found = examine(make.machine(card, unit, other), make.build("vulkan"))
    assert isinstance(found, tuple)
    assert [each.devices for each in found if each.beside] == [(card, other)]
    wheel = examine(make.machine(card, other), make.build("vulkan", launcher="xllamacpp"))
    assert isinstance(wheel, tuple)
    assert not any(each.beside for each in wheel)


def test_a_build_without_rocm_s_libraries_needs_them_on_the_machine(make: Make) -> None:
    gpu = make.gpu(vendor="amd", accelerators={"rocm": Usable(ok=True, reason="kfd")})
    build = make.build("rocm", needs=Needs(rocm="10.0"))
    vulkan, hip = (
        Library("libvulkan", "/usr/lib/libvulkan.so.1"),
        Library("libamdhip64", "/opt/rocm/lib/libamdhip64.so.7"),
    )
    assert rejection(examine(make.machine(gpu, libraries=(vulkan,)), build)) == (
        "library",
        "needs the libraries of ROCm 10.0; libamdhip64 is not installed",
    )
    for libraries in ((hip,), ()):
        verdict = examine(make.machine(gpu, libraries=libraries), build)
        assert isinstance(verdict, tuple)
        assert verdict[0].unsure == (
            "needs the libraries of ROCm 10.0 or newer, and this machine does not say which it has",
        )
    assert rejection(examine(make.machine(gpu, libraries=(hip,), rocm="7.0.2"), build)) == (
        "library",
        "needs the libraries of ROCm 10.0 or newer; this machine has 7.0.2",
    )
    assert examine(make.machine(gpu, libraries=(hip,), rocm="10.0.1"), build) == (Candidate(build, gpu),)


@pytest.mark.parametrize(("told", "met"), [("1.3.289", True), ("1.2", True), ("1.1.126", False), (None, None)])
def test_the_vulkan_floor_is_held_against_the_device(make: Make, told: str | None, met: bool | None) -> None:
    build = make.build("vulkan", needs=Needs(vulkan="1.2"))
    verdict = examine(make.machine(make.gpu(vulkan=told)), build)
    if met is False:
        assert rejection(verdict) == ("vulkan", "needs Vulkan 1.2 or newer; this machine has 1.1.126")
        return
    assert isinstance(verdict, tuple)
    assert bool(verdict[0].unsure) == (met is None)


def test_every_need_that_an_entry_can_state_is_checked() -> None:
    source = inspect.getsource(constraints)
    assert [key for key in Needs.model_fields if f"needs.{key}" not in source] == []


def test_the_macos_floor_is_kept(make: Make) -> None:
    build = make.build("cpu", needs=Needs(macos="13.0"))
    assert isinstance(examine(make.machine(os=Os("darwin", "14.5")), build), tuple)
    assert rejection(examine(make.machine(os=Os("darwin", "12.7")), build))[0] == "os"


def test_versions_compare_by_their_numbers() -> None:
    assert number("2.9") < number("2.35") <= number("2.35.1")


def test_where_foreign_programs_do_not_start_only_nix_builds_are_candidates(make: Make) -> None:
    machine = make.machine(libc=Libc("glibc", "2.40", foreign="programs that Nix did not build do not start"))
    assert rejection(examine(machine, make.build())) == ("loader", "programs that Nix did not build do not start")
    ours = make.artefact("llama-server", 100, sources=(NixSource(attribute="engine"),))
    assert examine(machine, make.build(artefact=(ours,))) == (Candidate(make.build(artefact=(ours,))),)


def test_a_python_that_nix_built_loads_no_wheel_and_starts_other_programs(make: Make) -> None:
    machine = make.machine(libc=Libc("glibc", "2.39", wheels="the C++ library is not found"))
    assert rejection(examine(machine, make.build(launcher="xllamacpp"))) == ("wheel", "the C++ library is not found")
    assert examine(machine, make.build()) == (Candidate(make.build()),)


def test_a_device_that_is_known_for_trouble_leaves_a_doubt(make: Make) -> None:
    mac = make.gpu(name="Apple Paravirtual device", vendor="apple", accelerators={"metal": Usable(ok=True, reason="")})
    (found,) = cast("tuple[Candidate, ...]", examine(make.machine(mac), make.build("metal")))
    assert "wrong answers" in found.unsure[0]


def test_an_accelerator_is_usable_on_a_device_only_where_a_build_runs_there(make: Make) -> None:
    old = make.gpu(id="old", compute_capability="3.5")
    machine = make.machine(make.gpu(), old)
    builds = [make.build("cuda", needs=Needs(compute=("5.0", "9.0"))), make.build("vulkan")]
    first, second = constraints.judged(machine, builds).devices
    assert (first.can("cuda"), second.can("cuda"), second.can("vulkan")) == (True, False, True)
    assert "needs compute capability 5.0" in second.accelerators["cuda"].reason
    # What nothing is offered for is not the device's fault.
    assert constraints.judged(machine, []) == machine
