"""AMD devices: the amdgpu files in sysfs, the KFD topology, and rocminfo where there is no KFD (WSL)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.machine.read.parse import amount, fields, found, hex_id, integer, words
from concierge.machine.read.pci import DEVICES
from concierge.machine.read.sighting import Sighting
from concierge.machine.types import Amount, Device, DeviceKind, DeviceMemory, Driver
from concierge.units import GIB, KIB

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle

KFD = "/sys/class/kfd/kfd/topology/nodes"
APU_TARGETS = {
    "gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1037",
    "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153",
}  # fmt: skip
"""The targets that AMD only builds into processors."""

_APU_CARVE_OUT = GIB
"""A carve-out up to this size beside a larger GTT is an APU's, whatever else is unknown: no such card is made."""


def sightings(bundle: Bundle) -> list[Sighting]:
    """Return what sysfs, KFD and rocminfo saw."""
    return [*_sysfs(bundle), *_kfd(bundle), *_rocminfo(bundle)]


def _sysfs(bundle: Bundle) -> list[Sighting]:
    seen = []
    for address in bundle.below(DEVICES):
        base = f"{DEVICES}/{address}"
        if bundle.text(f"{base}/vendor") != "0x1002" or f"{base}/mem_info_vram_total" not in bundle.files:
            continue
        seen.append(
            Sighting(
                source="amdgpu",
                vendor="amd",
                address=address.lower(),
                name=words(bundle.text(f"{base}/product_name")),
                kind=_card_kind(bundle, base),
                memory=DeviceMemory(
                    dedicated=amount(bundle.text(f"{base}/mem_info_vram_total"), "mem_info_vram_total"),
                    shared=amount(bundle.text(f"{base}/mem_info_gtt_total"), "mem_info_gtt_total"),
                    free=_free(bundle, base, "vram"),
                ),
                driver=Driver(name="amdgpu", version=bundle.text("/sys/module/amdgpu/version") or None),
                gfx_target=_discovered_target(bundle, base),
            )
        )
    return seen


def _card_kind(bundle: Bundle, base: str) -> DeviceKind:
    board = bundle.text(f"{base}/board_info")
    maker = bundle.text(f"{base}/mem_info_vram_vendor")
    return "discrete" if board.startswith("type") or maker not in ("", "unknown") else "unknown"


def _free(bundle: Bundle, base: str, heap: str) -> Amount:
    total = integer(bundle.text(f"{base}/mem_info_{heap}_total"))
    used = integer(bundle.text(f"{base}/mem_info_{heap}_used"))
    if total is None or used is None:
        return Amount()
    return amount(total - used, f"mem_info_{heap}_used")


def _discovered_target(bundle: Bundle, base: str) -> str | None:
    die = f"{base}/ip_discovery/die/0/GC/0"
    parts = [integer(bundle.text(f"{die}/{part}")) for part in ("major", "minor", "revision")]
    return gfx_name(*parts)


def gfx_name(major: int | None, minor: int | None, stepping: int | None) -> str | None:
    """Return the compiler's name of a target, such as ``gfx90a``: the last two digits are hexadecimal."""
    if major is None or minor is None or stepping is None or not 6 < major < 20:
        return None
    return f"gfx{major}{minor:x}{stepping:x}" if 0 <= minor < 16 and 0 <= stepping < 16 else None


def _kfd(bundle: Bundle) -> list[Sighting]:
    nodes = (fields(bundle.text(f"{KFD}/{node}/properties"), " ") for node in bundle.below(KFD))
    seen = (_kfd_node(properties) for properties in nodes)
    return [sighting for sighting in seen if sighting is not None]


def _kfd_node(properties: dict[str, str]) -> Sighting | None:
    packed = integer(properties.get("gfx_target_version"))
    if not packed:
        return None
    location, domain = integer(properties.get("location_id")), integer(properties.get("domain")) or 0
    address = None
    if location is not None and 0 <= location <= 0xFFFF and 0 <= domain <= 0xFFFF_FFFF:
        address = f"{domain:04x}:{location >> 8:02x}:{location >> 3 & 31:02x}.{location & 7}"
    device_id = hex_id(integer(properties.get("device_id")))
    target = gfx_name(packed // 10000, packed // 100 % 100, packed % 100)
    return Sighting(
        source="kfd",
        vendor="amd",
        address=address,
        pci_id=f"1002:{device_id}" if device_id else None,
        kind="integrated" if target in APU_TARGETS else "unknown",
        gfx_target=target,
    )


def _rocminfo(bundle: Bundle) -> list[Sighting]:
    output = bundle.command("rocminfo")
    if output is None or output.exit != 0:
        return []
    seen = []
    for agent in output.stdout.split("Agent ")[1:]:
        target = found(agent, r"(?m)^\s*Name:\s+(gfx[0-9a-f]{3,5})\b")
        if not target or found(agent, r"Device Type:\s+(\S+)") != "GPU":
            continue
        pool = found(agent, r"Segment:\s+GLOBAL[^\n]*\n\s*Size:\s+(\d+)")
        chip = hex_id(integer(found(agent, r"Chip ID:\s+(\d+)")))
        seen.append(
            Sighting(
                source="rocminfo",
                vendor="amd",
                pci_id=f"1002:{chip}" if chip else None,
                name=words(found(agent, r"Marketing Name:[ \t]+([^\n]+)")),
                kind="integrated" if target in APU_TARGETS else "discrete",
                memory=DeviceMemory(dedicated=amount(pool or None, "rocminfo", unit=KIB)),
                driver=Driver(name="dxg" if "/dev/dxg" in bundle.access else "amdgpu"),
                gfx_target=target,
            )
        )
    return seen


def finished(device: Device, bundle: Bundle) -> Device:
    """Complete an AMD device: an APU's carve-out and GTT are two parts of one pool."""
    memory = device.memory
    kind = "integrated" if device.gfx_target in APU_TARGETS or _looks_integrated(device) else device.kind
    kind = "discrete" if kind == "unknown" and memory.dedicated.bytes is not None else kind
    if kind != "integrated":
        if memory.dedicated.bytes is None and not memory.dedicated.reason:
            memory = replace(memory, dedicated=Amount(reason="no probe told it"))
        return replace(device, kind=kind, memory=memory)
    base = f"{DEVICES}/{device.id}"
    frees = [_free(bundle, base, heap).bytes for heap in ("vram", "gtt")]
    known = [free for free in frees if free is not None]
    free = Amount(sum(known), "mem_info_*_used", confidence="high") if known else memory.free
    return replace(device, kind=kind, memory=replace(memory, unified=_pool(memory), free=free))


def _looks_integrated(device: Device) -> bool:
    vram, gtt = device.memory.dedicated.bytes, device.memory.shared.bytes
    small = vram is not None and gtt is not None and vram <= _APU_CARVE_OUT < gtt
    return small and device.kind != "discrete"


def _pool(memory: DeviceMemory) -> Amount:
    parts = [part for part in (memory.dedicated, memory.shared) if part.bytes is not None]
    if memory.shared.bytes is None:
        if memory.unified.bytes is not None:
            return memory.unified
        why = memory.shared.reason or "only the carve-out is known, and a driver can use more than that"
        return Amount(None, memory.dedicated.source, reason=why)
    source = " + ".join(part.source for part in parts)
    doubtful = any(part.confidence == "low" for part in parts)
    return Amount(sum(part.bytes or 0 for part in parts), source, confidence="low" if doubtful else "high")
