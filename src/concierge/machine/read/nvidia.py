"""NVIDIA devices: NVML, nvidia-smi, the driver's /proc tree, CUDA's own answer, Jetson boards; and CUDA on them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from concierge.machine.read.parse import amount, fields, found, integer, pci_address, pci_id, words
from concierge.machine.types import Amount, Device, DeviceMemory, Driver
from concierge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.machine.bundle import Bundle
    from concierge.machine.types import MemoryFacts

PROC = "/proc/driver/nvidia"
_NOT_REPORTED = re.compile(r"(?i)not[ _]supported|\[?n/a\]?")
_TEGRA = {"tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
"""CUDA compute capability by the system on chip, for boards whose GPU is not on a PCI bus."""


def sightings(bundle: Bundle) -> list[Device]:
    """Return what each NVIDIA probe saw, the most telling first."""
    # A card that NVML counts and cannot ask has no bus here; the bus itself shows it.
    nvml = [_nvml_device(bundle, record) for record in bundle.records("nvml", "devices") if record.get("bus")]
    cuda_devices = [_cuda_device(record) for record in bundle.records("cuda", "devices")]
    # A board's own name tells which Jetson it is; the driver calls every one of a generation by the chip's.
    return [*_tegra(bundle), *nvml, *cuda_devices, *_smi(bundle), *_proc(bundle)]


def driver_version(bundle: Bundle) -> str | None:
    reported = words(bundle.answer("nvml").get("driver"))
    module = found(bundle.text(f"{PROC}/version"), r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+){1,2})")
    return reported or module or None


def slices(record: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the parts that a card is divided into (MIG), largest first; None where it is whole."""
    told = record.get("slices")
    if not isinstance(told, list):
        return None
    parts = [part for part in told if isinstance(part, dict)]
    return sorted(parts, key=lambda part: -(integer(part.get("memory_total")) or 0))


def _nvml_device(bundle: Bundle, record: Mapping[str, Any]) -> Device:
    combined = integer(record.get("pci_device_id"))
    # One program sees one part of a divided card, and never the whole.
    if parts := slices(record):
        record = {**record, **parts[0]}
    return Device(
        id=pci_address(record.get("bus")) or "",
        vendor="nvidia",
        name=words(record.get("name")),
        pci_id=pci_id("10de", combined >> 16) if combined is not None and combined > 0 else None,
        memory=DeviceMemory(
            dedicated=_dedicated(record.get("memory_total"), words(record.get("memory_error")), "NVML"),
            free=amount(record.get("memory_free"), "NVML"),
        ),
        driver=Driver(version=driver_version(bundle)),
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
        # One lost card makes the tool fail; what it says of the others is true all the same.
        if columns == [""]:
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
        driver = Driver(name="nvidia", version=driver_version(bundle))
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
    version = device.driver.version or (None if left_alone(bundle, device) else driver_version(bundle))
    driver = replace(device.driver, version=version)
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


def served(bundle: Bundle) -> set[str]:
    """Return the addresses of the cards that NVIDIA's driver answers for."""
    told = [record.get("bus") for name in ("nvml", "cuda") for record in bundle.records(name, "devices")]
    smi = [device.id for device in _smi(bundle)]
    return {address for bus in told if (address := pci_address(bus))} | {address for address in smi if address}


def left_alone(bundle: Bundle, device: Device) -> bool:
    """Return whether the driver serves another card and not this one."""
    known = served(bundle)
    return bool(known) and ":" in device.id and device.id not in known
