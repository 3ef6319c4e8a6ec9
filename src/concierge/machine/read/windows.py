"""Display adapters on Windows: DXGI, the registry's 64-bit memory size, and CIM for names and ids only.

CIM's ``AdapterRAM`` is an unsigned 32-bit number: from 4 GiB on it is wrong, so it is believed only below that.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from concierge.machine.read.parse import VENDORS, amount, hex_id, integer, objects, words
from concierge.machine.read.sighting import Sighting
from concierge.machine.types import Amount, DeviceKind, DeviceMemory, Driver, Vendor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.machine.bundle import Bundle

_PNP = re.compile(r"(?i)PCI\\VEN_([0-9a-f]{4})&DEV_([0-9a-f]{4})")
_SOFTWARE_ADAPTER = 2
_BELIEVABLE = 0xFFF0_0000
"""Cards of 4 GiB and more all show up at about this number."""


def sightings(bundle: Bundle) -> list[Sighting]:
    """Return what the registry, DXGI and CIM saw, the registry first since it holds the driver's own size."""
    return [*_registry(bundle), *_dxgi(bundle), *_cim(bundle)]


def _ids(text: object) -> tuple[Vendor, str] | None:
    match = _PNP.search(text) if isinstance(text, str) else None
    vendor = VENDORS.get(match[1].lower()) if match else None
    return (vendor, f"{match[1]}:{match[2]}".lower()) if match and vendor else None


def _registry(bundle: Bundle) -> list[Sighting]:
    seen = []
    for record in bundle.records("registry", "adapters"):
        ids = _ids(record.get("MatchingDeviceId"))
        if ids is None:
            continue
        size = amount(record.get("HardwareInformation.qwMemorySize"), "qwMemorySize")
        seen.append(
            Sighting(
                source="registry",
                vendor=ids[0],
                pci_id=ids[1],
                name=words(record.get("DriverDesc")),
                memory=DeviceMemory(dedicated=size),
                driver=_driver(ids[0], record.get("DriverVersion")),
            )
        )
    return seen


def _driver(vendor: Vendor, value: object) -> Driver:
    return Driver(name=vendor, version=driver_version(vendor, words(value)) or None)


def driver_version(vendor: str, windows: str) -> str:
    """Return the maker's version: NVIDIA's is the last five digits of Windows' own (``32.0.15.6094`` is 560.94)."""
    digits = windows.replace(".", "")
    if vendor == "nvidia" and re.fullmatch(r"(\d+\.){3}\d+", windows) and len(digits) >= 5:
        return f"{digits[-5:-2]}.{digits[-2:]}"
    return windows


def _dxgi(bundle: Bundle) -> list[Sighting]:
    seen = []
    for record in bundle.records("dxgi", "adapters"):
        vendor_id, device_id = hex_id(integer(record.get("VendorId"))), hex_id(integer(record.get("DeviceId")))
        vendor = VENDORS.get(vendor_id or "")
        if vendor is None or (integer(record.get("Flags")) or 0) & _SOFTWARE_ADAPTER:
            continue
        dedicated = amount(record.get("DedicatedVideoMemory"), "DXGI DedicatedVideoMemory")
        shared = amount(record.get("SharedSystemMemory"), "DXGI SharedSystemMemory")
        seen.append(
            Sighting(
                source="dxgi",
                vendor=vendor,
                pci_id=f"{vendor_id}:{device_id}" if device_id else None,
                name=words(record.get("Description")),
                kind=_kind(vendor, dedicated),
                memory=DeviceMemory(dedicated=dedicated, shared=shared),
            )
        )
    return seen


def _kind(vendor: Vendor, dedicated: Amount) -> DeviceKind:
    """A carve-out of at most 512 MiB, or none, is integrated graphics; more tells nothing for AMD's."""
    if vendor in ("intel", "amd", "qualcomm") and (dedicated.bytes or 0) <= 1 << 29:
        return "integrated"
    return "discrete" if vendor in ("nvidia", "intel") else "unknown"


def _cim(bundle: Bundle) -> list[Sighting]:
    output = bundle.command("powershell")
    try:
        document = json.loads(output.stdout) if output else {}
    except (ValueError, RecursionError):
        return []
    adapters = document.get("VideoController") if isinstance(document, dict) else None
    seen = (_adapter(record) for record in objects(adapters))
    return [sighting for sighting in seen if sighting is not None]


def _adapter(record: Mapping[str, Any]) -> Sighting | None:
    ids = _ids(record.get("PNPDeviceID"))
    if ids is None:
        return None
    return Sighting(
        source="cim",
        vendor=ids[0],
        pci_id=ids[1],
        name=words(record.get("Name")),
        memory=DeviceMemory(dedicated=_adapter_ram(record.get("AdapterRAM"))),
        driver=_driver(ids[0], record.get("DriverVersion")),
    )


def _adapter_ram(value: object) -> Amount:
    number = integer(value)
    if number is None:
        return Amount()
    if number < 0 or number >= _BELIEVABLE:
        reason = f"AdapterRAM said {number}: it is a 32-bit number that cannot show 4 GiB or more"
        return Amount(None, "AdapterRAM", reason=reason)
    return amount(number, "AdapterRAM", confidence="low")
