"""NVIDIA devices: NVML, nvidia-smi, the driver's /proc tree, CUDA's own answer, Jetson boards; and CUDA on them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from concierge.machine.read.parse import amount, fields, found, integer, pci_address, pci_id, words
from concierge.machine.read.verdict import Verdict, hidden, no, yes
from concierge.machine.types import Amount, Device, DeviceMemory, Driver
from concierge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.machine.bundle import Bundle
    from concierge.machine.types import Environment, MemoryFacts

PROC = "/proc/driver/nvidia"
_NOT_REPORTED = re.compile(r"(?i)not[ _]supported|\[?n/a\]?")
_TEGRA = {"tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
"""CUDA compute capability by the system on chip, for boards whose GPU is not on a PCI bus."""

_INIT_ERRORS = {
    100: "no device",
    802: "the system is not ready",
    803: "the driver and the CUDA library do not match",
    804: "forward compatibility is not supported on this hardware",
    999: "unknown error",
}
_RELOAD = "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm"
_INIT_FIXES = {
    803: "Remove the CUDA compat library from LD_LIBRARY_PATH, or install the driver that matches it and reboot.",
    999: _RELOAD,
}
_TOOLKIT = (
    "On the host: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; "
    "then start the container with --device nvidia.com/gpu=all"
)


def sightings(bundle: Bundle) -> list[Device]:
    """Return what each NVIDIA probe saw, the most telling first."""
    nvml = [_nvml_device(bundle, record) for record in bundle.records("nvml", "devices")]
    cuda_devices = [_cuda_device(record) for record in bundle.records("cuda", "devices")]
    # A board's own name tells which Jetson it is; the driver calls every one of a generation by the chip's.
    return [*_tegra(bundle), *nvml, *cuda_devices, *_smi(bundle), *_proc(bundle)]


def _driver_version(bundle: Bundle) -> str | None:
    reported = words(bundle.answer("nvml").get("driver"))
    module = found(bundle.text(f"{PROC}/version"), r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+){1,2})")
    return reported or module or None


def _nvml_device(bundle: Bundle, record: Mapping[str, Any]) -> Device:
    combined = integer(record.get("pci_device_id"))
    return Device(
        id=pci_address(record.get("bus")) or "",
        vendor="nvidia",
        name=words(record.get("name")),
        pci_id=pci_id("10de", combined >> 16) if combined is not None and combined > 0 else None,
        memory=DeviceMemory(
            dedicated=_dedicated(record.get("memory_total"), words(record.get("memory_error")), "NVML"),
            free=amount(record.get("memory_free"), "NVML"),
        ),
        driver=Driver(version=_driver_version(bundle)),
        compute_capability=_capability(record.get("compute")),
        sources=("nvml",),
    )


def _dedicated(value: object, error: str, source: str, *, unit: int = 1) -> Amount:
    if error:
        return Amount(None, source, reason=f"{source} said: {error}")
    return amount(value, source, unit=unit)


def _capability(value: object) -> str | None:
    return found(words(value), r"^(\d{1,2}\.\d)$") or None


def _cuda_device(record: Mapping[str, Any]) -> Device:
    return Device(
        id=pci_address(record.get("bus")) or "",
        vendor="nvidia",
        name=words(record.get("name")),
        kind="unified" if integer(record.get("integrated")) == 1 else "unknown",
        compute_capability=_capability(record.get("compute")),
        sources=("cuda",),
    )


def _smi(bundle: Bundle) -> Iterator[Device]:
    """Read nvidia-smi's CSV; its columns are those that the recorded command asked for."""
    for line, output in bundle.commands.items():
        columns = found(line, r"nvidia-smi\S*\s+--query-gpu=(\S+)").split(",")
        if output.exit != 0 or columns == [""]:
            continue
        rows = (dict(zip(columns, row.split(", "), strict=False)) for row in output.stdout.splitlines())
        yield from (_smi_device(row) for row in rows if row.get("name", "").strip() not in ("", "name"))


def _smi_device(row: Mapping[str, str]) -> Device:
    total = row.get("memory.total", "")
    refused = total if _NOT_REPORTED.search(total) else ""
    size = total.replace("MiB", "")
    free = row.get("memory.free", "").replace("MiB", "")
    return Device(
        id=pci_address(row.get("pci.bus_id")) or "",
        vendor="nvidia",
        name=words(row.get("name")),
        memory=DeviceMemory(
            dedicated=_dedicated(size, refused, "nvidia-smi", unit=MIB),
            free=Amount() if refused else amount(free, "nvidia-smi", unit=MIB),
        ),
        driver=Driver(version=found(row.get("driver_version", ""), r"^\s*(\d+\.\d+(?:\.\d+)?)") or None),
        compute_capability=_capability(row.get("compute_cap")),
        sources=("nvidia-smi",),
    )


def _proc(bundle: Bundle) -> Iterator[Device]:
    for name in bundle.below(f"{PROC}/gpus"):
        facts = fields(bundle.text(f"{PROC}/gpus/{name}/information"))
        address = pci_address(facts.get("Bus Location")) or pci_address(name) or ""
        driver = Driver(name="nvidia", version=_driver_version(bundle))
        yield Device(address, "nvidia", words(facts.get("Model")), driver=driver, sources=("proc",))


def _tegra(bundle: Bundle) -> Iterator[Device]:
    compatible = bundle.text("/proc/device-tree/compatible")
    chip = next((chip for chip in _TEGRA if chip in compatible), None)
    if chip is None:
        return
    # L4T counts its releases in its own way: as a version it would look like an ancient driver.
    release = found(bundle.text("/etc/nv_tegra_release"), r"R(\d+ \(release\), REVISION: [\d.]+)")
    l4t = release.replace(" (release), REVISION: ", ".")
    yield Device(
        id="",
        vendor="nvidia",
        name=words(bundle.text("/proc/device-tree/model")) or "NVIDIA Jetson",
        kind="unified",
        driver=Driver(name=f"nvgpu (L4T {l4t})" if l4t else "nvgpu"),
        compute_capability=_TEGRA[chip],
        sources=("device-tree",),
    )


def finished(device: Device, bundle: Bundle, system: MemoryFacts) -> Device:
    """Complete an NVIDIA device: a part that shares the system's memory has no number of its own."""
    memory, dedicated = device.memory, device.memory.dedicated
    refused = dedicated.bytes is None and _NOT_REPORTED.search(dedicated.reason)
    driver = replace(device.driver, version=device.driver.version or _driver_version(bundle))
    if device.kind == "unified" or refused:
        reason = dedicated.reason or "the device has no memory of its own"
        nothing = Amount(None, dedicated.source, reason)
        memory = replace(memory, dedicated=nothing, unified=system.total, free=system.available)
        return replace(device, driver=driver, kind="unified", memory=memory)
    if dedicated.bytes is None and not dedicated.reason:
        memory = replace(memory, dedicated=Amount(reason="neither NVML nor nvidia-smi nor Vulkan told it"))
    return replace(device, driver=driver, kind="discrete", memory=memory)


def smi_without_device(bundle: Bundle) -> bool:
    """Return whether NVIDIA's tool is installed although it found no device."""
    return bundle.command("nvidia-smi") is not None and not bundle.records("nvml", "devices") and not [*_smi(bundle)]


def cuda(bundle: Bundle, device: Device, environment: Environment, *, index: int) -> Verdict:
    """Return whether CUDA is usable on ``device``, the ``index``-th NVIDIA device of this machine."""
    failed = _hidden(bundle, index) or _without_driver(bundle, device, environment)
    failed = failed or _lost(bundle, environment) or _init(bundle)
    if failed is not None:
        return failed
    answer = bundle.answer("cuda")
    if "libcuda" not in bundle.libraries and not integer(answer.get("version")):
        return _no_library(environment)
    if integer(answer.get("init")) == 0:
        return yes("cuInit succeeds", f"driver {device.driver.version or 'of unknown version'}")
    if {"nvml", "nvidia-smi"} & set(device.sources):
        return yes("the driver answers and libcuda is there; cuInit was not asked", bundle.libraries.get("libcuda", ""))
    return yes("the kernel driver holds it and libcuda is there; it did not answer, it may sleep", PROC)


def _hidden(bundle: Bundle, index: int) -> Verdict | None:
    value = bundle.environment.get("CUDA_VISIBLE_DEVICES")
    visible = None if value is None else _visible_indexes(value)
    return None if visible is None or index in visible else hidden(bundle, "CUDA_VISIBLE_DEVICES")


def _visible_indexes(value: str) -> list[int] | None:
    """Return the indexes that CUDA_VISIBLE_DEVICES lets through; None when it hides nothing that can be told."""
    parts = [part.strip() for part in value.split(",")]
    if parts in ([""], ["-1"], ["none"]):
        return []
    numbers = [number for part in parts if (number := integer(part)) is not None]
    return numbers if len(numbers) == len(parts) else None


def _without_driver(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    answers = {"nvml", "cuda", "nvidia-smi", "proc", "device-tree"} & set(device.sources)
    if bundle.system == "windows" or answers or _driver_version(bundle):
        return None
    if environment.container and device.driver.name in ("", "nvidia"):
        return _no_library(environment)
    if device.driver.name == "nvidia":
        return None
    bound = device.driver.name or "no driver"
    fix = "Install NVIDIA's driver (Debian, Ubuntu: sudo apt install nvidia-driver; Fedora: akmod-nvidia) and reboot."
    return no("nvidia-driver-missing", f"{bound} is bound to it, not NVIDIA's driver", evidence=bound, fix=fix)


def _lost(bundle: Bundle, environment: Environment) -> Verdict | None:
    smi = bundle.command("nvidia-smi")
    said = words(bundle.answer("nvml").get("error")) or (words(smi.stdout + " " + smi.stderr) if smi else "")
    if "Unknown Error" not in said:
        return None
    where = "the container lost its access to the GPU" if environment.container else "the driver lost the GPU"
    fix = "Start the container again." if environment.container else _RELOAD
    return no("gpu-lost", where, evidence=said, fix=fix)


def _init(bundle: Bundle) -> Verdict | None:
    code = integer(bundle.answer("cuda").get("init")) or 0
    if code == 0:
        return None
    meaning = _INIT_ERRORS.get(code, "see CUDA's error table")
    fix = _INIT_FIXES.get(code, "Reboot; if it stays, install the driver again.")
    return no("cuda-init-failed", f"cuInit fails: {meaning}", evidence=f"cuInit returned {code}", fix=fix)


def _no_library(environment: Environment) -> Verdict:
    if environment.container:
        reason = "the container was started without the GPU: NVIDIA's libraries are not in it"
        return no("container-without-gpu", reason, evidence="no libcuda.so.1", fix=_TOOLKIT)
    fix = "Install the driver's compute libraries (Debian: libcuda1; Ubuntu: libnvidia-compute-*)."
    return no("cuda-library-missing", "libcuda is not installed", evidence="no libcuda.so.1", fix=fix)
