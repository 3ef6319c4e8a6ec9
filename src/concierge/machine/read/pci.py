"""The devices that the Linux kernel enumerates on the PCI bus, whether or not a driver speaks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.read.parse import VENDORS, hex_id, pci_id
from concierge.machine.types import Device, Driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.machine.bundle import Bundle

DEVICES = "/sys/bus/pci/devices"
_DISPLAY = "0x03"
_ACCELERATOR = "0x1200"
INTEL_INTEGRATED = "00:02.0"
"""Intel's integrated graphics has had this address since it moved onto the processor."""


def sightings(bundle: Bundle) -> Iterator[Device]:
    """Yield the display and compute functions of the vendors that engines know."""
    for address in bundle.below(DEVICES):
        base = f"{DEVICES}/{address}"
        kind = bundle.text(f"{base}/class").lower()
        vendor_id = hex_id(bundle.text(f"{base}/vendor"))
        vendor = VENDORS.get(vendor_id or "")
        # Intel's class 0x1200 is its NPU, which no engine here serves.
        wanted = kind.startswith(_DISPLAY) or (kind.startswith(_ACCELERATOR) and vendor != "intel")
        if vendor is None or not wanted:
            continue
        integrated = address.endswith(INTEL_INTEGRATED)
        yield Device(
            id=address.lower(),
            vendor=vendor,
            name="",
            kind="unknown" if vendor != "intel" else "integrated" if integrated else "discrete",
            pci_id=pci_id(vendor_id, bundle.text(f"{base}/device")),
            driver=Driver(name=bundle.links.get(f"{base}/driver", "").rsplit("/", 1)[-1]),
            sources=("pci",),
        )
