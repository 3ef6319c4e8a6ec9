"""Apple silicon and the Macs before it: sysctl, system_profiler, and Metal's own answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.read.parse import VENDORS, amount, fields, found, integer, json_records, words
from concierge.machine.read.verdict import Verdict, no, yes
from concierge.machine.types import Amount, Device, DeviceMemory, Driver, Vendor
from concierge.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.machine.bundle import Bundle
    from concierge.machine.types import MemoryFacts

_TWO_THIRDS_UP_TO = 36 * GIB
"""macOS lets the GPU wire two thirds of memory up to this size and three quarters above it."""


def sysctl(bundle: Bundle) -> dict[str, str]:
    """Return the sysctl values that were asked for."""
    return fields(bundle.printed("sysctl"))


def is_silicon(bundle: Bundle) -> bool:
    """Return whether the hardware is arm64, also when this process runs translated."""
    return sysctl(bundle).get("hw.optional.arm64") == "1" or bundle.platform.get("machine") == "arm64"


def sightings(bundle: Bundle, system: MemoryFacts) -> Iterator[Device]:
    """Yield the Mac's GPU; on Apple silicon it is there even when system_profiler says nothing."""
    if bundle.system != "darwin":
        return
    shown = [*_shown(bundle)]
    if not is_silicon(bundle):
        yield from shown
        return
    name = next((sighting.name for sighting in shown if sighting.name), "")
    yield Device(
        id="",
        vendor="apple",
        name=name or words(sysctl(bundle).get("machdep.cpu.brand_string")) or "Apple GPU",
        kind="unified",
        memory=DeviceMemory(
            dedicated=Amount(reason="the GPU shares the system's memory"),
            unified=system.total,
            wired_limit=_wired_limit(bundle, system),
            free=system.available,
        ),
        driver=Driver(name="metal", usable=True),
        sources=("sysctl",),
    )


def _shown(bundle: Bundle) -> Iterator[Device]:
    for record in json_records(bundle.printed("system_profiler"), "SPDisplaysDataType"):
        vendor = _vendor(words(record.get("spdisplays_vendor")))
        if vendor is None:
            continue
        size = words(record.get("spdisplays_vram"))
        unit = GIB if size.endswith("GB") else MIB
        yield Device(
            id="",
            vendor=vendor,
            name=words(record.get("sppci_model")),
            kind="integrated" if record.get("spdisplays_vram_shared") or vendor == "intel" else "discrete",
            memory=DeviceMemory(dedicated=amount(found(size, r"^(\d+)") or None, "system_profiler", unit=unit)),
            driver=Driver(name="metal"),
            sources=("system_profiler",),
        )


def _vendor(told: str) -> Vendor | None:
    named: dict[str, Vendor] = {"sppci_vendor_Apple": "apple", "Intel": "intel"}
    return named.get(told) or VENDORS.get(found(told, r"\(0x([0-9a-fA-F]{4})\)").lower())


def _wired_limit(bundle: Bundle, system: MemoryFacts) -> Amount:
    set_by_user = integer(sysctl(bundle).get("iogpu.wired_limit_mb"))
    if set_by_user:
        return amount(set_by_user, "iogpu.wired_limit_mb", unit=MIB)
    metal = bundle.records("metal", "devices")
    told = amount(metal[0].get("recommended_max_working_set"), "recommendedMaxWorkingSetSize") if metal else Amount()
    total = system.total.bytes
    if told.bytes is not None or total is None:
        return told
    share = total * 2 // 3 if total <= _TWO_THIRDS_UP_TO else total * 3 // 4
    return Amount(share, "macOS's usual share", reason="Metal was not asked", confidence="low")


def metal(bundle: Bundle, device: Device) -> Verdict:
    """Return whether Metal is usable for engines on ``device``."""
    if device.vendor == "apple" and bundle.system == "darwin":
        return yes("Apple silicon", device.name)
    reason = "the engines' Metal back end is for Apple silicon; the builds for Intel Macs have none"
    return no("metal-intel-mac", reason, fix="Use the CPU.", expected=True)
