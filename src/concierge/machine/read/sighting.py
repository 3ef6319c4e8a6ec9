"""What one probe saw of one device, and how several sightings become one device.

Sightings merge by PCI address. One that has no address joins the device of its vendor (and PCI id, where both
know it) that its own source has not yet described, so that a second tool never makes a second card.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from concierge.machine.types import Amount, Device, DeviceKind, DeviceMemory, Driver, Vendor

if TYPE_CHECKING:
    from collections.abc import Iterable

TITLES: dict[Vendor, str] = {
    "nvidia": "NVIDIA",
    "amd": "AMD",
    "intel": "Intel",
    "apple": "Apple",
    "qualcomm": "Qualcomm",
    "other": "Unknown",
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """One probe's view. ``identity`` marks the probes that prove a device is there; the others only describe one."""

    source: str
    vendor: Vendor
    address: str | None = None
    pci_id: str | None = None
    name: str = ""
    kind: DeviceKind = "unknown"
    memory: DeviceMemory = field(default_factory=DeviceMemory)
    driver: Driver = field(default_factory=Driver)
    compute_capability: str | None = None
    gfx_target: str | None = None
    vulkan: str | None = None
    identity: bool = True


def merge(sightings: Iterable[Sighting]) -> list[Device]:
    """Return one device for each physical one; what an earlier sighting knows, a later one cannot change."""
    devices: list[Device] = []
    for sighting in sightings:
        at = _place(devices, sighting)
        if at is not None:
            devices[at] = _joined(devices[at], sighting)
        elif sighting.identity:
            devices.append(_device(sighting, len(devices)))
    return [replace(device, name=device.name or _plain_name(device)) for device in devices]


def _place(devices: list[Device], sighting: Sighting) -> int | None:
    for at, device in enumerate(devices):
        if sighting.address is not None and device.id == sighting.address:
            return at
    for at, device in enumerate(devices):
        if _could_be(device, sighting):
            return at
    return None


def _could_be(device: Device, sighting: Sighting) -> bool:
    if device.vendor != sighting.vendor or sighting.source in device.sources:
        return False
    if sighting.address is not None and _has_address(device):
        return False
    return None in (device.pci_id, sighting.pci_id) or device.pci_id == sighting.pci_id


def _has_address(device: Device) -> bool:
    return device.id.count(":") == 2


def _device(sighting: Sighting, index: int) -> Device:
    return Device(
        id=sighting.address or f"{sighting.vendor}:{index}",
        vendor=sighting.vendor,
        name=sighting.name,
        kind=sighting.kind,
        pci_id=sighting.pci_id,
        memory=sighting.memory,
        driver=sighting.driver,
        compute_capability=sighting.compute_capability,
        gfx_target=sighting.gfx_target,
        vulkan=sighting.vulkan,
        sources=(sighting.source,),
    )


def _joined(device: Device, sighting: Sighting) -> Device:
    driver = device.driver
    return replace(
        device,
        id=device.id if sighting.address is None or _has_address(device) else sighting.address,
        name=device.name or sighting.name,
        kind=sighting.kind if device.kind == "unknown" else device.kind,
        pci_id=device.pci_id or sighting.pci_id,
        memory=_joined_memory(device.memory, sighting.memory),
        driver=replace(
            driver, name=driver.name or sighting.driver.name, version=driver.version or sighting.driver.version
        ),
        compute_capability=device.compute_capability or sighting.compute_capability,
        gfx_target=device.gfx_target or sighting.gfx_target,
        vulkan=device.vulkan or sighting.vulkan,
        sources=tuple(dict.fromkeys((*device.sources, sighting.source))),
    )


def _joined_memory(first: DeviceMemory, second: DeviceMemory) -> DeviceMemory:
    return DeviceMemory(
        **{one.name: _better(getattr(first, one.name), getattr(second, one.name)) for one in fields(first)}
    )


def _better(first: Amount, second: Amount) -> Amount:
    """A confident number beats a doubtful one, any number beats none, and otherwise the first stays."""
    if first.bytes is None:
        return second if second.bytes is not None or not first.reason else first
    if first.confidence == "low" and second.bytes is not None and second.confidence == "high":
        return second
    return first


def _plain_name(device: Device) -> str:
    return f"{TITLES[device.vendor]} device {device.pci_id or device.id}"
