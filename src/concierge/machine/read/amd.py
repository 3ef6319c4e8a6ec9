"""AMD devices: amdgpu's files in sysfs, the KFD topology, rocminfo where there is no KFD (WSL); and ROCm on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from concierge.machine.read.parse import amount, fields, found, integer, pci_id, words
from concierge.machine.read.pci import DEVICES
from concierge.machine.read.verdict import JOIN_GROUPS, Verdict, closed, hidden, no, yes
from concierge.machine.types import Amount, Device, DeviceKind, DeviceMemory, Driver
from concierge.units import GIB, KIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.machine.bundle import Bundle
    from concierge.machine.types import Environment

KFD = "/sys/class/kfd/kfd/topology/nodes"
VERSION = "/opt/rocm/.info/version"
_APU_TARGETS = {
    "gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035", "gfx1036", "gfx1037",
    "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153",
}  # fmt: skip
"""The targets that AMD only builds into processors."""

_ROCM_TARGETS = {
    "gfx906", "gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102",
    "gfx1150", "gfx1151", "gfx1200", "gfx1201",
}  # fmt: skip
"""Targets that ROCm's own libraries hold kernels for; a build may hold fewer, which its catalogue entry says."""

_APU_CARVE_OUT = GIB
"""A carve-out up to this size beside a larger GTT is an APU's, whatever else is unknown: no such card is made."""

_CONTAINER = "Start the container with --device /dev/kfd --device /dev/dri --group-add keep-groups (docker: the ids)."


def sightings(bundle: Bundle) -> list[Device]:
    """Return what sysfs, KFD and rocminfo saw."""
    return [*_sysfs(bundle), *_kfd(bundle), *_rocminfo(bundle)]


def _sysfs(bundle: Bundle) -> Iterator[Device]:
    for address in bundle.below(DEVICES):
        base = f"{DEVICES}/{address}"
        if bundle.text(f"{base}/vendor") != "0x1002" or f"{base}/mem_info_vram_total" not in bundle.files:
            continue
        yield Device(
            id=address.lower(),
            vendor="amd",
            name=words(bundle.text(f"{base}/product_name")),
            kind=_card_kind(bundle, base),
            memory=DeviceMemory(
                dedicated=amount(bundle.text(f"{base}/mem_info_vram_total"), "mem_info_vram_total"),
                shared=amount(bundle.text(f"{base}/mem_info_gtt_total"), "mem_info_gtt_total"),
                free=_free(bundle, base, "vram"),
            ),
            driver=Driver(name="amdgpu", version=bundle.text("/sys/module/amdgpu/version") or None),
            gfx_target=_discovered_target(bundle, base),
            sources=("amdgpu",),
        )


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


def _kfd(bundle: Bundle) -> Iterator[Device]:
    for node in bundle.below(KFD):
        properties = fields(bundle.text(f"{KFD}/{node}/properties"), " ")
        packed = integer(properties.get("gfx_target_version"))
        if not packed:
            continue
        target = gfx_name(packed // 10000, packed // 100 % 100, packed % 100)
        yield Device(
            id=_kfd_address(properties),
            vendor="amd",
            name="",
            kind="integrated" if target in _APU_TARGETS else "unknown",
            pci_id=pci_id("1002", integer(properties.get("device_id"))),
            gfx_target=target,
            sources=("kfd",),
        )


def _kfd_address(properties: dict[str, str]) -> str:
    location, domain = integer(properties.get("location_id")), integer(properties.get("domain")) or 0
    if location is None or not 0 <= location <= 0xFFFF or not 0 <= domain <= 0xFFFF_FFFF:
        return ""
    return f"{domain:04x}:{location >> 8:02x}:{location >> 3 & 31:02x}.{location & 7}"


def _rocminfo(bundle: Bundle) -> Iterator[Device]:
    output = bundle.command("rocminfo")
    if output is None or output.exit != 0:
        return
    for agent in output.stdout.split("Agent ")[1:]:
        target = found(agent, r"(?m)^\s*Name:\s+(gfx[0-9a-f]{3,5})\b")
        if not target or found(agent, r"Device Type:\s+(\S+)") != "GPU":
            continue
        pool = found(agent, r"Segment:\s+GLOBAL[^\n]*\n\s*Size:\s+(\d+)")
        yield Device(
            id="",
            vendor="amd",
            name=words(found(agent, r"Marketing Name:[ \t]+([^\n]+)")),
            kind="integrated" if target in _APU_TARGETS else "discrete",
            pci_id=pci_id("1002", integer(found(agent, r"Chip ID:\s+(\d+)"))),
            memory=DeviceMemory(dedicated=amount(pool or None, "rocminfo", unit=KIB)),
            driver=Driver(name="dxg" if "/dev/dxg" in bundle.access else "amdgpu"),
            gfx_target=target,
            sources=("rocminfo",),
        )


def finished(device: Device, bundle: Bundle) -> Device:
    """Complete an AMD device: an APU's carve-out and GTT are two parts of one pool."""
    memory = device.memory
    kind = "integrated" if device.gfx_target in _APU_TARGETS or _looks_integrated(device) else device.kind
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
    if memory.shared.bytes is None:
        if memory.unified.bytes is not None:
            return memory.unified
        why = memory.shared.reason or "only the carve-out is known, and a driver can use more than that"
        return Amount(None, memory.dedicated.source, reason=why)
    parts = [part for part in (memory.dedicated, memory.shared) if part.bytes is not None]
    source = " + ".join(part.source for part in parts)
    doubtful = any(part.confidence == "low" for part in parts)
    return Amount(sum(part.bytes or 0 for part in parts), source, confidence="low" if doubtful else "high")


def rocm_version(bundle: Bundle) -> str | None:
    """Return the version of the ROCm that is installed, or None when nothing says it."""
    return found(bundle.text(VERSION), r"^(\d+\.\d+(?:\.\d+)?)") or None


def rocm(bundle: Bundle, device: Device, environment: Environment) -> Verdict:
    """Return whether ROCm is usable on ``device``."""
    if bundle.system != "linux":
        return no("rocm-platform", "concierge uses ROCm on Linux only", expected=True)
    if bundle.platform.get("machine", "") not in ("x86_64", "amd64"):
        return no("rocm-arm64", "there is no ROCm for this processor", fix="Use Vulkan.", expected=True)
    node = "/dev/kfd" if "/dev/kfd" in bundle.access else "/dev/dxg"
    works = yes("the compute device is open to this user", f"{device.gfx_target} through {node}")
    access = _in_wsl(bundle) if environment.wsl else _access(bundle, device, environment)
    return _hidden(bundle) or access or _without_kernels(bundle, device) or works


def _hidden(bundle: Bundle) -> Verdict | None:
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if bundle.environment.get(name) in ("", "-1"):
            return hidden(bundle, name)
    return None


def _access(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    if device.driver.name != "amdgpu":
        bound = device.driver.name or "no driver"
        fix = "Load it: sudo modprobe amdgpu. A new card needs a newer kernel and linux-firmware."
        return no("amd-driver-missing", f"{bound} is bound to it, not amdgpu", evidence=bound, fix=fix)
    if "/dev/kfd" not in bundle.access:
        fix = _CONTAINER if environment.container else "Use a kernel with CONFIG_HSA_AMD; Vulkan needs none of it."
        return no("kfd-missing", "there is no /dev/kfd", evidence="/dev/kfd: no such file", fix=fix)
    if owner := closed(bundle, "/dev/kfd"):
        fix = _CONTAINER if environment.container else JOIN_GROUPS
        return no("kfd-permission", "this user may not open /dev/kfd", evidence=owner, fix=fix)
    return None


def _in_wsl(bundle: Bundle) -> Verdict | None:
    if "/dev/dxg" not in bundle.access:
        return no("dxg-missing", "there is no /dev/dxg", fix="Update WSL: wsl --update, then wsl --shutdown.")
    if "libhsa-runtime64" not in bundle.libraries:
        fix = "Install AMD's ROCm for WSL in this distribution."
        return no("rocm-wsl-runtime-missing", "the HSA runtime for WSL is not installed", fix=fix)
    return None


def _without_kernels(bundle: Bundle, device: Device) -> Verdict | None:
    target = device.gfx_target
    if target is None:
        return no("gfx-unknown", "the chip's gfx target is not known", fix="Use Vulkan.")
    if target in _ROCM_TARGETS or bundle.environment.get("HSA_OVERRIDE_GFX_VERSION"):
        return None
    reason = f"ROCm's libraries hold no kernels for {target}: such a build crashes or prints garbage"
    fix = "Use Vulkan. HSA_OVERRIDE_GFX_VERSION is at your own risk and never set by concierge."
    return no("gfx-unsupported", reason, evidence=target, fix=fix)
