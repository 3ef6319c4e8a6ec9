"""Intel devices: local memory from the kernel driver, else the size of the card's memory window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.machine.read.parse import amount, integer
from concierge.machine.read.pci import DEVICES, INTEL_INTEGRATED
from concierge.machine.types import Amount, Device, DeviceMemory
from concierge.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.machine.bundle import Bundle

SOURCE = "i915/xe"
"""It describes a card; that there is one is for the PCI class to say: Intel makes much that is no GPU."""

_SMALLEST_WINDOW = GIB
"""Without resizable BAR the window is 256 MiB whatever the card has: a small window says nothing."""


def sightings(bundle: Bundle) -> Iterator[Device]:
    """Yield what sysfs says of the memory of Intel's discrete cards."""
    for address in bundle.below(DEVICES):
        base = f"{DEVICES}/{address}"
        if bundle.text(f"{base}/vendor") != "0x8086" or address.endswith(INTEL_INTEGRATED):
            continue
        local = amount(_local_memory(bundle, base), "lmem_total_bytes")
        size = local if local.bytes is not None else _window(bundle.text(f"{base}/resource"))
        yield Device(address, "intel", name="", memory=DeviceMemory(dedicated=size), sources=(SOURCE,))


def _local_memory(bundle: Bundle, base: str) -> str | None:
    cards = (f"{base}/drm/{card}/lmem_total_bytes" for card in bundle.below(f"{base}/drm"))
    return next((bundle.files[path] for path in cards if path in bundle.files), None)


def _window(resource: str) -> Amount:
    """Return the largest memory window in a PCI ``resource`` file: three hexadecimal numbers a line."""
    sizes = [0]
    for line in resource.splitlines():
        numbers = [integer(part) for part in line.split()]
        if len(numbers) == 3 and numbers[0] and numbers[1] and numbers[1] > numbers[0]:
            sizes.append(numbers[1] - numbers[0] + 1)
    if max(sizes) < _SMALLEST_WINDOW:
        return Amount(reason="the driver does not tell it, and the card's memory window is small")
    window = amount(max(sizes), "PCI BAR", confidence="low")
    return replace(window, reason="a window is a power of two: the card may have less")


def finished(device: Device) -> Device:
    """Complete an Intel device: an integrated one has no memory of its own."""
    if device.kind != "integrated":
        return device
    pool = device.memory.unified
    if pool.bytes is None:
        pool = Amount(reason="integrated graphics share the system's memory, and no Vulkan driver said how much")
    nothing = Amount(reason="integrated graphics have no memory of their own")
    return replace(device, memory=replace(device.memory, dedicated=nothing, unified=pool))
