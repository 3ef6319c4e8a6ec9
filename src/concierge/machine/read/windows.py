"""Display adapters on Windows: DXGI, the registry's 64-bit memory size, and CIM for names and ids only.

CIM's ``AdapterRAM`` is an unsigned 32-bit number: from 4 GiB on it is wrong, so it is believed only below that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from concierge.machine.read.parse import VENDORS, amount, hex_id, integer, json_records, pci_id, words
from concierge.machine.types import Amount, Device, DeviceKind, DeviceMemory, Driver, Vendor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.machine.bundle import Bundle

_PNP = re.compile(r"(?i)PCI\\VEN_([0-9a-f]{4})&DEV_([0-9a-f]{4})")
_SOFTWARE_ADAPTER = 2
_BELIEVABLE = 0xFFF0_0000
"""Cards of 4 GiB and more all show up at about this number."""


def sightings(bundle: Bundle) -> list[Device]:
    """Return what the registry, DXGI and CIM saw, the registry first since it holds the driver's own size."""
    return [*_registry(bundle), *_dxgi(bundle), *_cim(bundle)]


def _registry(bundle: Bundle) -> Iterator[Device]:
    for record in bundle.records("registry", "adapters"):
        size = amount(record.get("HardwareInformation.qwMemorySize"), "qwMemorySize")
        yield from _adapter("registry", record, record.get("MatchingDeviceId"), record.get("DriverDesc"), size)


def _cim(bundle: Bundle) -> Iterator[Device]:
    for record in json_records(bundle.printed("powershell"), "VideoController"):
        size = _adapter_ram(record.get("AdapterRAM"))
        yield from _adapter("cim", record, record.get("PNPDeviceID"), record.get("Name"), size)


def _adapter(source: str, record: Mapping[str, Any], ids: object, name: object, size: Amount) -> Iterator[Device]:
    match = _PNP.search(ids) if isinstance(ids, str) else None
    vendor = VENDORS.get(match[1].lower()) if match else None
    if match is None or vendor is None:
        return
    yield Device(
        id="",
        vendor=vendor,
        name=words(name),
        pci_id=f"{match[1]}:{match[2]}".lower(),
        memory=DeviceMemory(dedicated=size),
        driver=Driver(name=vendor, version=driver_version(vendor, words(record.get("DriverVersion"))) or None),
        sources=(source,),
    )


def driver_version(vendor: str, windows: str) -> str:
    """Return the maker's version: NVIDIA's is the last five digits of Windows' own (``32.0.15.6094`` is 560.94)."""
    digits = windows.replace(".", "")
    if vendor == "nvidia" and re.fullmatch(r"(\d+\.){3}\d+", windows) and len(digits) >= 5:
        return f"{digits[-5:-2]}.{digits[-2:]}"
    return windows


def _dxgi(bundle: Bundle) -> Iterator[Device]:
    for record in bundle.records("dxgi", "adapters"):
        vendor_id = hex_id(integer(record.get("VendorId")))
        vendor = VENDORS.get(vendor_id or "")
        if vendor is None or (integer(record.get("Flags")) or 0) & _SOFTWARE_ADAPTER:
            continue
        dedicated = amount(record.get("DedicatedVideoMemory"), "DXGI DedicatedVideoMemory")
        shared = amount(record.get("SharedSystemMemory"), "DXGI SharedSystemMemory")
        yield Device(
            id="",
            vendor=vendor,
            name=words(record.get("Description")),
            kind=_kind(vendor, dedicated),
            pci_id=pci_id(vendor_id, integer(record.get("DeviceId"))),
            memory=DeviceMemory(dedicated=dedicated, shared=shared),
            sources=("dxgi",),
        )


def _kind(vendor: Vendor, dedicated: Amount) -> DeviceKind:
    """A carve-out of at most 512 MiB, or none, is integrated graphics; more tells nothing for AMD's."""
    if vendor in ("intel", "amd", "qualcomm") and (dedicated.bytes or 0) <= 1 << 29:
        return "integrated"
    return "discrete" if vendor in ("nvidia", "intel") else "unknown"


def _adapter_ram(value: object) -> Amount:
    number = integer(value) or 0
    if number < 0 or number >= _BELIEVABLE:
        reason = f"AdapterRAM said {number}: it is a 32-bit number that cannot show 4 GiB or more"
        return Amount(None, "AdapterRAM", reason=reason)
    return amount(value, "AdapterRAM", confidence="low")
