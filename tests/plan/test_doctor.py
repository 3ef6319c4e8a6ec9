from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concierge.catalog.types import Catalog, Needs
from concierge.config.keys import Llm
from concierge.endpoint import Endpoint
from concierge.errors import NothingSuitableError
from concierge.machine.types import Amount, Device, DeviceMemory, Driver, Finding, Libc, MemoryFacts, Usable
from concierge.plan import doctor
from concierge.plan.decide import plan
from concierge.plan.words import Failed, Running, build_name

if TYPE_CHECKING:
    from concierge.machine.types import Machine
    from tests.make import Make

GIB = 1 << 30
MIB = 1 << 20


@pytest.fixture
def catalog(make: Make) -> Catalog:
    return Catalog(
        builds=(
            make.build("cpu"),
            make.build("cuda", needs=Needs(driver="525", glibc="2.39", compute=("7.5",))),
            make.build("rocm", needs=Needs(gfx=("gfx1100",))),
        ),
        models=(make.model("small", 20, 500 * MIB),),
    )


def diagnosed(machine: Machine, catalog: Catalog, llm: Llm | None = None, **running: object) -> tuple[Finding, ...]:
    llm, here = llm or Llm(), Running(**running)  # type: ignore[arg-type]
    return doctor.diagnose(machine, llm, plan(machine, llm, catalog, here), here)


def the(findings: tuple[Finding, ...], name: str) -> Finding:
    return next(finding for finding in findings if finding.id == name)


def test_a_machine_whose_plan_uses_its_accelerator_is_well(make: Make, catalog: Catalog) -> None:
    assert diagnosed(make.machine(make.gpu()), catalog) == ()


def test_a_machine_without_an_accelerator_is_well_on_its_cpu(make: Make, catalog: Catalog) -> None:
    display = Device("0000:03:00.0", "other", "ASPEED AST2600", "virtual")
    assert diagnosed(make.machine(display), catalog) == ()


def no(reason: str, evidence: str = "") -> dict[str, Usable]:
    return {"cuda": Usable(ok=False, reason=reason, evidence=evidence)}


CUDA = {"cuda": Usable(ok=True, reason="cuInit works")}
FALLBACKS = [
    (
        "driver",
        {"driver": Driver("nvidia", "470.1", usable=True)},
        "2.39",
        "needs nvidia driver 525",
        "Update the device",
    ),
    ("glibc", {}, "2.35", "needs glibc 2.39", "Update the system"),
    ("chip", {"compute_capability": "5.2"}, "2.39", "needs compute capability 7.5", "No build here holds code"),
    (
        "library",
        {"accelerators": no("libcuda is not installed")},
        "2.39",
        "libcuda is not installed",
        "llm.accelerator",
    ),
]


@pytest.mark.parametrize(("name", "facts", "glibc", "cause", "fix"), FALLBACKS, ids=[row[0] for row in FALLBACKS])
def test_an_accelerator_that_ends_on_the_cpu_is_an_error_with_its_cause(
    make: Make, catalog: Catalog, name: str, facts: dict[str, Any], glibc: str, cause: str, fix: str
) -> None:
    gpu = make.gpu(**({"accelerators": CUDA} | facts))
    found = the(diagnosed(make.machine(gpu, libc=Libc("glibc", glibc)), catalog), "cpu-fallback")
    assert found.severity == "error"
    assert cause in found.cause
    assert fix in found.fix
    assert found.device == gpu.id


def test_an_unsupported_gfx_target_is_named(make: Make, catalog: Catalog) -> None:
    rocm = {"rocm": Usable(ok=True, reason="kfd")}
    gpu = make.gpu(vendor="amd", name="RX 6700", gfx_target="gfx1031", accelerators=rocm)
    assert "gfx1031" in the(diagnosed(make.machine(gpu), catalog), "cpu-fallback").cause


def test_the_probe_s_own_remedy_is_the_fix(make: Make, catalog: Catalog) -> None:
    gpu = make.gpu(
        accelerators={"rocm": Usable(ok=False, reason="this user may not open /dev/kfd", evidence="root:render")}
    )
    own = Finding("kfd-permission", "error", "may not open /dev/kfd", fix="Join the group render.", device=gpu.id)
    findings = diagnosed(make.machine(gpu, findings=(own,)), catalog)
    found = the(findings, "cpu-fallback")
    assert (found.fix, found.evidence) == ("Join the group render.", "root:render")
    assert the(findings, "kfd-permission").severity == "error"


def test_a_build_that_failed_its_proof_is_the_cause(make: Make, catalog: Catalog) -> None:
    failed = Failed(build_name(catalog.builds[1]), "libcudart.so.12 is missing")
    findings = diagnosed(make.machine(make.gpu(accelerators=CUDA)), catalog, failed=(failed,))
    assert "libcudart.so.12 is missing" in the(findings, "cpu-fallback").cause
    assert the(findings, "failed-here").severity == "warning"


def test_a_card_too_small_for_a_better_model_than_the_cpu_s_says_so(make: Make, catalog: Catalog) -> None:
    found = the(diagnosed(make.machine(make.gpu(0.5, accelerators=CUDA)), catalog), "cpu-fallback")
    assert "carries only a worse model" in found.cause
    assert "Set llm.accelerator" in found.fix


def test_the_cpu_that_was_asked_for_is_no_fault(make: Make, catalog: Catalog) -> None:
    assert diagnosed(make.machine(make.gpu()), catalog, Llm(accelerator="cpu")) == ()


def test_a_device_s_fault_is_only_a_warning_while_the_plan_does_without_it(make: Make, catalog: Catalog) -> None:
    fault = Finding("kfd-permission", "error", "may not open /dev/kfd", device="0000:09:00.0")
    machine = make.machine(make.gpu(), findings=(fault,))
    assert [finding.severity for finding in diagnosed(machine, catalog)] == ["warning"]
    endpoint = Endpoint("http://127.0.0.1:11434/v1", "small")
    assert [finding.severity for finding in diagnosed(machine, catalog, endpoint=endpoint)] == ["warning"]


def test_a_full_disk_is_an_error_with_both_numbers(make: Make, catalog: Catalog) -> None:
    found = the(diagnosed(make.machine(), catalog, disk_free=1000), "disk-full")
    assert (found.severity, "1.0 kB are free" in found.cause) == ("error", True)


def test_memory_that_is_busy_now_is_a_warning_unless_our_own_server_holds_it(make: Make, catalog: Catalog) -> None:
    memory = DeviceMemory(dedicated=Amount(24 * GIB, "nvml"), free=Amount(100 * MIB, "nvml"))
    machine = make.machine(make.gpu(memory=memory))
    assert the(diagnosed(machine, catalog), "memory-busy").severity == "warning"
    assert diagnosed(machine, catalog, serving=True) == ()


def test_memory_that_is_not_told_is_a_warning(make: Make, catalog: Catalog) -> None:
    machine = make.machine(memory=MemoryFacts(total=Amount(reason="/proc/meminfo is empty")))
    found = the(diagnosed(machine, catalog), "budget-unknown")
    assert "/proc/meminfo is empty" in found.cause


def test_a_slow_model_that_was_asked_for_is_a_warning(make: Make) -> None:
    large = Catalog(builds=(make.build("cpu"),), models=(make.model("large", 1, 20 * GIB),))
    assert the(diagnosed(make.machine(ram=64), large, Llm(model="large")), "slow").severity == "warning"


def test_a_machine_that_nothing_suits_is_an_error_with_the_plan_s_words(make: Make, catalog: Catalog) -> None:
    machine = make.machine(system="x86_64-darwin")
    with pytest.raises(NothingSuitableError) as caught:
        plan(machine, Llm(), catalog)
    found = doctor.diagnose(machine, Llm(), caught.value)
    assert [finding.id for finding in found] == ["nothing-suitable"]
    assert doctor.exit_code(found) == 1


def test_the_exit_code_is_1_only_for_errors_and_the_worst_comes_first() -> None:
    findings = [Finding("a", "info", ""), Finding("b", "warning", "")]
    assert doctor.exit_code(findings) == 0
    assert doctor.exit_code([*findings, Finding("c", "error", "")]) == 1
