"""How what several probes saw of one device becomes one device.

A sighting is a ``Device`` as one probe tells it: what the probe does not tell is unknown in it, and without an
address its id is empty. Sightings merge by PCI address. One that has no address joins the device of its vendor (and
PCI id, where both know it) that its own source has not yet described, so that a second tool never makes a second card.
"""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import chain
from typing import TYPE_CHECKING

from concierge.machine.types import Amount, Device, DeviceMemory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_TITLES = {"nvidia": "NVIDIA", "amd": "AMD"}


def merge(sightings: Iterable[Device], *, describing: Collection[str]) -> list[Device]:
    """Return one device for each physical one; what an earlier sighting knows, a later one cannot change.

    The sources in ``describing`` add to a device that another one proves to be there, and prove none themselves.
    """
    devices: list[Device] = []
    for sighting in sightings:
        at = _place(devices, sighting)
        if at is not None:
            devices[at] = _joined(devices[at], sighting)
        elif sighting.sources[0] not in describing:
            devices.append(replace(sighting, id=sighting.id or f"{sighting.vendor}:{len(devices)}"))
    return [replace(device, name=device.name or _plain_name(device)) for device in devices]


def _place(devices: list[Device], sighting: Device) -> int | None:
    same = (at for at, device in enumerate(devices) if device.id == sighting.id)
    alike = (at for at, device in enumerate(devices) if _could_be(device, sighting))
    return next(chain(same, alike), None)


def _could_be(device: Device, sighting: Device) -> bool:
    if device.vendor != sighting.vendor or sighting.sources[0] in device.sources:
        return False
    if sighting.id and _has_address(device):
        return False
    return None in (device.pci_id, sighting.pci_id) or device.pci_id == sighting.pci_id


def _has_address(device: Device) -> bool:
    return device.id.count(":") == 2


def _joined(device: Device, sighting: Device) -> Device:
    mine, told = device.driver, sighting.driver
    amounts = {
        one.name: _better(getattr(device.memory, one.name), getattr(sighting.memory, one.name))
        for one in fields(DeviceMemory)
    }
    return replace(
        device,
        id=sighting.id if sighting.id and not _has_address(device) else device.id,
        name=device.name or sighting.name,
        kind=sighting.kind if device.kind == "unknown" else device.kind,
        pci_id=device.pci_id or sighting.pci_id,
        memory=DeviceMemory(**amounts),
        driver=replace(mine, name=mine.name or told.name, version=mine.version or told.version),
        compute_capability=device.compute_capability or sighting.compute_capability,
        gfx_target=device.gfx_target or sighting.gfx_target,
        vulkan=device.vulkan or sighting.vulkan,
        sources=tuple(dict.fromkeys((*device.sources, *sighting.sources))),
    )


def _better(first: Amount, second: Amount) -> Amount:
    """A confident number beats a doubtful one, any number beats none, and otherwise the first stays."""
    if first.bytes is None:
        return second if second.bytes is not None or not first.reason else first
    if first.confidence == "low" and second.bytes is not None and second.confidence == "high":
        return second
    return first


def _plain_name(device: Device) -> str:
    return f"{_TITLES.get(device.vendor, device.vendor.title())} device {device.pci_id or device.id}"
