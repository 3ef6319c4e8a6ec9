"""What is wrong with this machine, judged by what the plan relies on: the same fault is an error or a remark."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.catalog.devices import known
from concierge.errors import NothingSuitableError
from concierge.machine.budget import budget
from concierge.machine.read.findings import FOREIGN_FIX
from concierge.machine.types import Finding
from concierge.plan.placement import ASSUMED
from concierge.plan.rank import WRITTEN, pace
from concierge.plan.words import NOTHING, Plan, Running
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from concierge.config.keys import Llm
    from concierge.errors import ConciergeError
    from concierge.machine.types import Device, Machine
    from concierge.plan.words import Cause, Rejected

_ORDER = ("error", "warning", "info")
_COMPUTING = ("nvidia", "amd", "intel", "apple", "qualcomm")
_MEANT = 'Set llm.accelerator = "cpu" if the CPU is what you want.'

_FIX: dict[Cause, str] = {
    "driver": "Update the device's driver to the version that is named.",
    "vulkan": "Update the device's driver to one that speaks the Vulkan version that is named.",
    "library": "Install the libraries that are named.",
    "loader": FOREIGN_FIX,
    "wheel": "Use the nix source (`nix run`, or llm.flake), or start concierge with a Python that Nix did not build.",
    "compile": "Trust cache.nixos-cuda.org (docs/nix.md), or set llm.accelerator to have it compiled here.",
    "glibc": "Update the system, or run concierge through Nix, which brings its own glibc.",
    "os": "Update the operating system.",
    "compute": f"No build here holds code for this chip. {_MEANT}",
    "gfx": f"No build here holds code for this chip. {_MEANT}",
    "failed": "The log that `concierge status` names shows why; `concierge up` tries again after the cause is gone.",
    "ranked-lower": f"Set llm.accelerator to use it all the same. {_MEANT}",
}


def diagnose(
    machine: Machine, llm: Llm, plan: Plan | ConciergeError, running: Running = NOTHING
) -> tuple[Finding, ...]:
    """Return every finding, the worst first; an error means that something the plan relies on is wrong."""
    if isinstance(plan, Plan):
        found = [*_from_machine(machine, plan), *_cpu_fallback(machine, llm, plan), *_from_plan(machine, plan, running)]
    else:
        name = "nothing-suitable" if isinstance(plan, NothingSuitableError) else "no-plan"
        found = [*machine.findings, Finding(name, "error", plan.what, evidence=plan.where or "", fix=plan.hint or "")]
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 when any finding is an error, else 0."""
    return int(any(finding.severity == "error" for finding in findings))


def _from_machine(machine: Machine, plan: Plan) -> Iterator[Finding]:
    """A device's fault is no error while the plan runs on something else that is as good."""
    relies = plan.accelerator == "cpu"
    for finding in machine.findings:
        harmless = finding.severity == "error" and finding.device is not None and not relies
        yield replace(finding, severity="warning") if harmless else finding


def _cpu_fallback(machine: Machine, llm: Llm, plan: Plan) -> Iterator[Finding]:
    if plan.accelerator != "cpu" or llm.accelerator == "cpu":
        return
    for device in machine.devices:
        if device.vendor in _COMPUTING and device.kind != "virtual":
            yield _unused(machine, device, plan)


def _unused(machine: Machine, device: Device, plan: Plan) -> Finding:
    """Say why a device that could compute does not."""
    against = [entry for entry in plan.rejected if entry.kind == "engine" and _concerns(entry, device)]
    unusable = [(name, usable) for name, usable in device.accelerators.items() if not usable.ok]
    causes = [f"{name}: {usable.reason}" for name, usable in unusable]
    causes += dict.fromkeys(f"{entry.accelerator}: {entry.reason}" for entry in against)
    evidence = next((usable.evidence for _, usable in unusable if usable.evidence), "")
    return Finding(
        "cpu-fallback",
        "error",
        f"{device.name} is not used, the plan is on the CPU: {'; '.join(causes) or 'no build here can use it'}",
        evidence=evidence or ", ".join(device.sources),
        fix=_remedy(machine, device, against),
        device=device.id,
    )


def _concerns(entry: Rejected, device: Device) -> bool:
    meant = entry.cause in ("asked", "launcher")
    return not meant and entry.accelerator is not None and entry.accelerator != "cpu" and device.can(entry.accelerator)


def _remedy(machine: Machine, device: Device, against: Iterable[Rejected]) -> str:
    """Return every way out: what makes an accelerator usable, then what meets the constraints, in the builds' order."""
    ways = [usable.fix for usable in device.accelerators.values() if not usable.ok]
    ways += [_FIX[entry.cause] for entry in against if entry.cause in _FIX]
    own = [f.fix for f in machine.findings if f.device == device.id and f.severity != "info"]
    return " Or: ".join(dict.fromkeys(way for way in ways if way)) or next(filter(None, own), _MEANT)


def _from_plan(machine: Machine, plan: Plan, running: Running) -> Iterator[Finding]:
    for failed in running.failed:
        fix = "The log that `concierge status` names shows why."
        yield Finding("failed-here", "warning", f"{failed.name} was tried and failed: {failed.reason}", fix=fix)
    if running.disk_free is not None and running.disk_free < plan.disk_bytes:
        cause = f"the plan needs {human(plan.disk_bytes)} of disk and {human(running.disk_free)} are free"
        yield Finding("disk-full", "error", cause, fix="Free some space, or put CONCIERGE_HOME on a larger disk.")
    if plan.accelerator and plan.device and (trouble := known(plan.device, plan.accelerator)) is not None:
        cause = f"{plan.device}: {trouble.reason}."
        yield Finding("device-trouble", "warning", cause, evidence=trouble.source, fix=trouble.fix)
    yield from _memory(machine, plan, running)


def _memory(machine: Machine, plan: Plan, running: Running) -> Iterator[Finding]:
    found = plan.estimate
    if found is None or plan.accelerator is None:
        return
    offered = budget(machine, plan.accelerator)
    if found.budget is None:
        cause = f"how much memory a model may use is not known ({offered.reason}); {human(ASSUMED)} are assumed"
        yield Finding("budget-unknown", "warning", cause)
    now = offered.now
    if not running.serving and now is not None and found.memory is not None and now < found.memory:
        cause = f"{plan.model_name} needs {human(found.memory)} and {human(now)} are free at this moment"
        yield Finding("memory-busy", "warning", cause, fix="Close what holds the memory before `concierge up`.")
    if found.fast is not None and found.fast < WRITTEN:
        fix = "Set llm.model to a smaller one; `concierge models` lists speeds."
        yield Finding("slow", "warning", f"{plan.model_name}: {pace(found)}", fix=fix)
