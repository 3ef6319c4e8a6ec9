"""NVIDIA devices: NVML, nvidia-smi, the driver's /proc tree, CUDA's own answer, and Jetson boards."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.machine.read.parse import amount, fields, found, hex_id, integer, pci_address, words
from concierge.machine.read.sighting import Sighting
from concierge.machine.types import Amount, Device, DeviceMemory, Driver
from concierge.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from concierge.machine.bundle import Bundle
    from concierge.machine.types import MemoryFacts

PROC = "/proc/driver/nvidia"
_NOT_REPORTED = re.compile(r"(?i)not[ _]supported|\[?n/a\]?")
_TEGRA = {"tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
"""CUDA compute capability by the system on chip, for boards whose GPU is not on a PCI bus."""


def sightings(bundle: Bundle) -> list[Sighting]:
    """Return what each NVIDIA probe saw, the most telling first."""
    # A board's own name tells which Jetson it is; the driver calls every one of a generation by the chip's.
    return [*_tegra(bundle), *_nvml(bundle), *_cuda(bundle), *_smi(bundle), *_proc(bundle)]


def driver_version(bundle: Bundle) -> str | None:
    """Return the driver's version, from NVML or the kernel module."""
    reported = words(bundle.answer("nvml").get("driver"))
    module = found(bundle.text(f"{PROC}/version"), r"Kernel Module(?:\s+for\s+\S+)?\s+(\d+(?:\.\d+){1,2})")
    return reported or module or None


def _nvml(bundle: Bundle) -> list[Sighting]:
    return [_nvml_device(bundle, record) for record in bundle.records("nvml", "devices")]


def _nvml_device(bundle: Bundle, record: Mapping[str, Any]) -> Sighting:
    error = words(record.get("memory_error"))
    combined = integer(record.get("pci_device_id"))
    device_id = hex_id(combined >> 16) if combined is not None and combined > 0 else None
    return Sighting(
        source="nvml",
        vendor="nvidia",
        address=pci_address(record.get("bus")),
        pci_id=f"10de:{device_id}" if device_id else None,
        name=words(record.get("name")),
        memory=DeviceMemory(
            dedicated=_dedicated(record.get("memory_total"), error, "NVML"),
            free=amount(record.get("memory_free"), "NVML"),
        ),
        driver=Driver(version=driver_version(bundle)),
        compute_capability=_capability(record.get("compute")),
    )


def _dedicated(value: object, error: str, source: str, *, unit: int = 1) -> Amount:
    if error:
        return Amount(None, source, reason=f"{source} said: {error}")
    return amount(value, source, unit=unit)


def _capability(value: object) -> str | None:
    return found(words(value), r"^(\d{1,2}\.\d)$") or None


def _cuda(bundle: Bundle) -> list[Sighting]:
    return [
        Sighting(
            source="cuda",
            vendor="nvidia",
            address=pci_address(record.get("bus")),
            name=words(record.get("name")),
            kind="unified" if integer(record.get("integrated")) == 1 else "unknown",
            compute_capability=_capability(record.get("compute")),
        )
        for record in bundle.records("cuda", "devices")
    ]


def _smi(bundle: Bundle) -> list[Sighting]:
    """Read nvidia-smi's CSV; its columns are those that the recorded command asked for."""
    found_rows: list[Sighting] = []
    for line, output in bundle.commands.items():
        columns = found(line, r"nvidia-smi\S*\s+--query-gpu=(\S+)").split(",")
        if output.exit != 0 or columns == [""]:
            continue
        rows = (dict(zip(columns, row.split(", "), strict=False)) for row in output.stdout.splitlines())
        found_rows += [_smi_row(row) for row in rows if row.get("name", "").strip() not in ("", "name")]
    return found_rows


def _smi_row(row: Mapping[str, str]) -> Sighting:
    total = row.get("memory.total", "")
    refused = total if _NOT_REPORTED.search(total) else ""
    size = total.replace("MiB", "")
    free = row.get("memory.free", "").replace("MiB", "")
    return Sighting(
        source="nvidia-smi",
        vendor="nvidia",
        address=pci_address(row.get("pci.bus_id")),
        name=words(row.get("name")),
        memory=DeviceMemory(
            dedicated=_dedicated(size, refused, "nvidia-smi", unit=MIB),
            free=Amount() if refused else amount(free, "nvidia-smi", unit=MIB),
        ),
        driver=Driver(version=found(row.get("driver_version", ""), r"^\s*(\d+\.\d+(?:\.\d+)?)") or None),
        compute_capability=_capability(row.get("compute_cap")),
    )


def _proc(bundle: Bundle) -> list[Sighting]:
    seen: list[Sighting] = []
    for name in bundle.below(f"{PROC}/gpus"):
        facts = fields(bundle.text(f"{PROC}/gpus/{name}/information"))
        address = pci_address(facts.get("Bus Location")) or pci_address(name)
        driver = Driver(name="nvidia", version=driver_version(bundle))
        seen.append(
            Sighting(source="proc", vendor="nvidia", address=address, name=words(facts.get("Model")), driver=driver)
        )
    return seen


def _tegra(bundle: Bundle) -> list[Sighting]:
    compatible = bundle.text("/proc/device-tree/compatible")
    chip = next((chip for chip in _TEGRA if chip in compatible), None)
    if chip is None:
        return []
    # L4T counts its releases in its own way: as a version it would look like an ancient driver.
    release = found(bundle.text("/etc/nv_tegra_release"), r"R(\d+ \(release\), REVISION: [\d.]+)")
    l4t = release.replace(" (release), REVISION: ", ".")
    name = words(bundle.text("/proc/device-tree/model")) or "NVIDIA Jetson"
    driver = Driver(name=f"nvgpu (L4T {l4t})" if l4t else "nvgpu")
    return [
        Sighting(
            source="device-tree",
            vendor="nvidia",
            name=name,
            kind="unified",
            driver=driver,
            compute_capability=_TEGRA[chip],
        )
    ]


def finished(device: Device, bundle: Bundle, system: MemoryFacts) -> Device:
    """Complete an NVIDIA device: a part that shares the system's memory has no number of its own."""
    memory = device.memory
    refused = bool(_NOT_REPORTED.search(memory.dedicated.reason))
    shares = device.kind == "unified" or (refused and memory.dedicated.bytes is None)
    driver = replace(device.driver, version=device.driver.version or driver_version(bundle))
    if not shares:
        return replace(device, driver=driver, kind="discrete", memory=_explained(memory))
    reason = memory.dedicated.reason or "the device has no memory of its own"
    unified = replace(memory, dedicated=Amount(None, memory.dedicated.source, reason), unified=system.total)
    return replace(device, driver=driver, kind="unified", memory=replace(unified, free=system.available))


def _explained(memory: DeviceMemory) -> DeviceMemory:
    if memory.dedicated.bytes is not None or memory.dedicated.reason:
        return memory
    return replace(memory, dedicated=Amount(reason="neither NVML nor nvidia-smi nor Vulkan told it"))


def visible_indexes(bundle: Bundle) -> tuple[int, ...] | None:
    """Return the indexes that CUDA_VISIBLE_DEVICES lets through; None when it hides nothing that can be told."""
    value = bundle.environment.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if parts in ([""], ["-1"], ["none"]):
        return ()
    numbers = [integer(part) for part in parts]
    return tuple(number for number in numbers if number is not None) if None not in numbers else None


def smi_without_device(bundle: Bundle) -> bool:
    """Return whether NVIDIA's tool is installed although it found no device."""
    output = bundle.command("nvidia-smi") or bundle.command("/usr/lib/wsl/lib/nvidia-smi")
    return output is not None and not bundle.records("nvml", "devices") and not _smi(bundle)
