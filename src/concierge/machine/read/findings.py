"""Findings about the hardware and the system: what is wrong, what shows it, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.budget import device_budget
from concierge.machine.read import nvidia, vulkan
from concierge.machine.types import Finding
from concierge.units import gib, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.machine.bundle import Bundle
    from concierge.machine.read.verdict import Verdict
    from concierge.machine.types import Device, Machine, Severity
    from concierge.platforms import Accelerator

    Verdicts = Mapping[str, Mapping[Accelerator, Verdict]]

_CUDA_12_DRIVER, _CUDA_13_DRIVER = 525, 580
_TTM_SHARE = 0.6
"""The kernel lets an APU have half of the memory unless it is told otherwise; above this share it was told."""

_POINTLESS = ("rocm-platform", "metal-intel-mac")
"""Not worth telling of a device that works through another accelerator: nobody can change it."""

_ROOTS = ("nvidia-driver", "nvidia-mig", "gpu-lost")
"""Troubles of the driver itself: that Vulkan lists nothing follows from them."""

FOREIGN_FIX = "Use the nix source (`nix run`, or llm.flake), or set programs.nix-ld.enable = true."
_PAGE = 4096
_ORDER = ("error", "warning", "info")


def findings(bundle: Bundle, machine: Machine, verdicts: Verdicts) -> tuple[Finding, ...]:
    """Return all findings, errors first."""
    found: list[Finding] = []
    for device in machine.devices:
        found += _unusable(device, verdicts[device.id])
        found += _memory(machine, device)
        found += _ttm(bundle, machine, device)
        found += _notes(machine, device)
    found += [*_drivers(machine), *_tools(bundle, machine), *_processor(machine), *_system(bundle, machine)]
    if bundle.failures:
        cause = "Parts of the probe gave no answer; what they would have told is unknown."
        parts = "; ".join(f"{part}: {why}" for part, why in sorted(bundle.failures.items()))
        found.append(Finding("probe-incomplete", "info", cause, evidence=parts[:500]))
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: _ORDER.index(finding.severity)))


def _unusable(device: Device, verdicts: Mapping[Accelerator, Verdict]) -> Iterator[Finding]:
    """Report the vendor's own accelerator first; Vulkan's trouble matters only where nothing better works."""
    native = [verdict for accelerator, verdict in verdicts.items() if accelerator != "vulkan"]
    reported = [verdict for verdict in native if not verdict.usable.ok]
    roots = [verdict.id for verdict in reported if not verdict.expected]
    rooted = any(root.endswith("driver-missing") for root in roots)
    if portable := verdicts.get("vulkan"):
        rooted = rooted or (portable.id == "vulkan-no-device" and any(root.startswith(_ROOTS) for root in roots))
    if portable and not portable.usable.ok and not rooted and len(reported) == len(native):
        reported.append(portable)
    works = any(verdict.usable.ok for verdict in verdicts.values())
    for verdict in reported:
        told, broken = verdict.usable, not works and device.kind in ("discrete", "unified")
        severity: Severity = "info" if verdict.expected else "error" if broken else "warning"
        if not works or verdict.id not in _POINTLESS:
            cause = f"{device.name}: {told.reason}."
            yield Finding(verdict.id, severity, cause, evidence=told.evidence, fix=told.fix, device=device.id)


def _memory(machine: Machine, device: Device) -> Iterator[Finding]:
    budget = device_budget(machine.memory, device)
    if budget.bytes is None and any(usable.ok for usable in device.accelerators.values()):
        cause = f"{device.name}: how much memory it offers is not known."
        yield Finding("memory-unknown", "info", cause, evidence=budget.reason, device=device.id)


def _ttm(bundle: Bundle, machine: Machine, device: Device) -> Iterator[Finding]:
    shared, total = device.memory.shared, machine.memory.total.bytes
    if bundle.system != "linux" or device.vendor != "amd" or device.kind != "integrated":
        return
    if shared.bytes is None or total is None or shared.bytes >= total * _TTM_SHARE:
        return
    # A large carve-out is memory that the user already gave to the device in the firmware.
    if (device.memory.dedicated.bytes or 0) > total // 2:
        return
    pages = bundle.text("/sys/module/ttm/parameters/pages_limit")
    wanted = total * 3 // 4 // _PAGE
    cause = f"{device.name}: the kernel lets it use {gib(shared.bytes)} of {gib(total)}."
    evidence = f"{shared.source} is {shared.bytes}" + (f", ttm.pages_limit is {pages}" if pages else "")
    fix = f"For three quarters of it, add ttm.pages_limit={wanted} to the kernel command line and reboot."
    yield Finding("ttm-limit", "warning", cause, evidence=evidence, fix=fix, device=device.id)


def _notes(machine: Machine, device: Device) -> Iterator[Finding]:
    if not device.can("vulkan"):
        return
    better = (other for other in machine.devices if other.kind in ("discrete", "unified"))
    beside = any(usable.ok for other in better for usable in other.accelerators.values())
    if device.kind == "integrated" and beside:
        cause = f"{device.name}: found, and left alone since there is a better device."
        fix = "To use it, name its accelerator in concierge.toml."
        yield Finding("integrated-device", "info", cause, evidence=device.id, fix=fix, device=device.id)
    if device.vendor == "intel" and device.kind == "discrete":
        cause = f"{device.name}: some Vulkan drivers for it garble text in half precision."
        fix = "If answers are garbage, set GGML_VK_DISABLE_F16=1."
        told = device.driver.version or ""
        yield Finding("vulkan-f16-arc", "info", cause, evidence=told, fix=fix, device=device.id)


def _drivers(machine: Machine) -> Iterator[Finding]:
    """Say what a driver is too old for; which build that rules out is for the planner."""
    reported = next((d for d in machine.devices if d.vendor == "nvidia" and d.driver.version), None)
    if reported is None or reported.driver.name.startswith("nvgpu"):
        return
    told = reported.driver.version or ""
    major = next(iter(number(told)), _CUDA_13_DRIVER)
    fix = f"Install driver {_CUDA_13_DRIVER} or newer."
    if major < _CUDA_12_DRIVER:
        cause = f"The NVIDIA driver is too old for CUDA builds: those for CUDA 12 need {_CUDA_12_DRIVER}."
        yield Finding("nvidia-driver-old", "warning", cause, evidence=told, fix=fix, device=reported.id)
    elif major < _CUDA_13_DRIVER:
        cause = f"The NVIDIA driver runs CUDA 12 builds; CUDA 13 builds need {_CUDA_13_DRIVER}."
        yield Finding("nvidia-driver-cuda12", "info", cause, evidence=told, fix=fix, device=reported.id)


def _tools(bundle: Bundle, machine: Machine) -> Iterator[Finding]:
    if software := vulkan.cpu_devices(bundle):
        cause = "Vulkan lists a software renderer: it is the CPU, not a device."
        yield Finding("vulkan-cpu-device", "info", cause, evidence=", ".join(software))
    if nvidia.smi_without_device(bundle) and not any(device.vendor == "nvidia" for device in machine.devices):
        cause = "nvidia-smi is installed, but there is no NVIDIA device."
        yield Finding("nvidia-tool-without-device", "info", cause, evidence="nvidia-smi lists nothing")
    hidden = "CUDA_VISIBLE_DEVICES"
    seen = (device for device in machine.devices if device.can("vulkan"))
    if any(hidden in usable.reason for device in seen for usable in device.accelerators.values()):
        cause = f"{hidden} does not hide a device from Vulkan: it would still be used."
        fix = "Set GGML_VK_VISIBLE_DEVICES too, or use the CPU."
        yield Finding("visibility-cuda-only", "warning", cause, evidence=hidden, fix=fix)


def _processor(machine: Machine) -> Iterator[Finding]:
    if machine.cpu.level in ("x86-64-v1", "x86-64-v2"):
        lacks = "AVX2" if "avx" in machine.cpu.features else "AVX and AVX2"
        cause = f"The processor has no {lacks}: builds without run-time dispatch die on it."
        yield Finding("cpu-no-avx2", "warning", cause, evidence=f"{machine.cpu.model} is {machine.cpu.level}")


def _system(bundle: Bundle, machine: Machine) -> Iterator[Finding]:
    if machine.system is None:
        evidence = f"{bundle.platform.get('machine', '?')} {bundle.platform.get('system', '?')}"
        yield Finding("system-unknown", "warning", "No build is known for this system.", evidence=evidence)
    if machine.environment.rosetta:
        cause = "This Python is an x86_64 program under Rosetta: an engine of its kind would be slow and without Metal."
        fix = "Engines are chosen for arm64. Install an arm64 Python: arch -arm64 /usr/bin/python3."
        yield Finding("rosetta", "warning", cause, evidence="sysctl.proc_translated is 1", fix=fix)
    yield from _libc(machine)
    if machine.libc.foreign:
        cause = f"{machine.libc.foreign[0].upper()}{machine.libc.foreign[1:]}."
        evidence = f"loader: {bundle.answer('libc').get('targets') or 'none'}"
        yield Finding("nixos-loader", "info", cause, evidence=evidence, fix=FOREIGN_FIX)
    limit, total = machine.memory.limit, machine.memory.total
    if limit.bytes is not None:
        cause = f"A cgroup limits memory to {gib(limit.bytes)} of {gib(total.bytes or 0)}."
        yield Finding("cgroup-limit", "info", cause, evidence=limit.source)
    if total.bytes is None:
        cause = "How much memory the system has is not known."
        yield Finding("system-memory-unknown", "warning", cause, evidence=total.reason)


def _libc(machine: Machine) -> Iterator[Finding]:
    if machine.libc.kind == "musl":
        cause = "The system's C library is musl: the official builds are linked against glibc."
        fix = "Use Nix, or a container with glibc."
        yield Finding("libc-musl", "warning", cause, evidence="only a musl loader is installed", fix=fix)
    floor = (2, 39) if machine.system == "aarch64-linux" else (2, 35)
    told = number(machine.glibc or "")
    if told and told < floor:
        cause = f"glibc is older than the official builds want ({'.'.join(map(str, floor))})."
        yield Finding("glibc-old", "info", cause, evidence=f"glibc {machine.glibc}", fix="Another source is chosen.")
