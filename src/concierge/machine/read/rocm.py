"""Whether ROCm works on an AMD device, and if not, why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.read.parse import found
from concierge.machine.read.verdict import Verdict, no, yes

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle
    from concierge.machine.types import Device, Environment

VERSION = "/opt/rocm/.info/version"

SUPPORTED = {
    "gfx906", "gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102",
    "gfx1150", "gfx1151", "gfx1200", "gfx1201",
}  # fmt: skip
"""Targets that ROCm's own libraries hold kernels for; a build may hold fewer, which its catalogue entry says."""

_GROUPS = "sudo usermod -aG render,video $USER, then log out and in again"
_CONTAINER = "Start the container with --device /dev/kfd --device /dev/dri --group-add keep-groups (docker: the ids)."


def verdict(bundle: Bundle, device: Device, environment: Environment) -> Verdict:
    """Return whether ROCm is usable on ``device``."""
    if bundle.system != "linux":
        return no("rocm-platform", "concierge uses ROCm on Linux only", expected=True)
    if bundle.platform.get("machine", "") not in ("x86_64", "amd64"):
        return no("rocm-arm64", "there is no ROCm for this processor", fix="Use Vulkan.", expected=True)
    checks = (_hidden(bundle), _access(bundle, device, environment), _target(bundle, device))
    failed = next((check for check in checks if check is not None), None)
    return failed or yes("the compute device is open to this user", f"{device.gfx_target} through {_node(bundle)}")


def installed(bundle: Bundle) -> str | None:
    """Return the version of the ROCm that is installed, or None when nothing says it."""
    return found(bundle.text(VERSION), r"^(\d+\.\d+(?:\.\d+)?)") or None


def _node(bundle: Bundle) -> str:
    return "/dev/kfd" if "/dev/kfd" in bundle.access else "/dev/dxg"


def _hidden(bundle: Bundle) -> Verdict | None:
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if bundle.environment.get(name) in ("", "-1"):
            said = f"{name}={bundle.environment[name]}"
            return no("device-hidden", f"{name} hides it", evidence=said, fix=f"Unset {name} to use it.", expected=True)
    return None


def _access(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    if environment.wsl:
        return _wsl(bundle)
    if device.driver.name != "amdgpu":
        bound = device.driver.name or "no driver"
        fix = "Load it: sudo modprobe amdgpu. A new card needs a newer kernel and linux-firmware."
        return no("amd-driver-missing", f"{bound} is bound to it, not amdgpu", evidence=bound, fix=fix)
    node = bundle.access.get("/dev/kfd")
    if node is None:
        fix = _CONTAINER if environment.container else "Use a kernel with CONFIG_HSA_AMD; Vulkan needs none of it."
        return no("kfd-missing", "there is no /dev/kfd", evidence="/dev/kfd: no such file", fix=fix)
    if node.get("read") is False or node.get("write") is False:
        owner = f"/dev/kfd is {node.get('owner', '?')}:{node.get('group', '?')} {node.get('mode', '')}".strip()
        fix = _CONTAINER if environment.container else _GROUPS
        return no("kfd-permission", "this user may not open /dev/kfd", evidence=owner, fix=fix)
    return None


def _wsl(bundle: Bundle) -> Verdict | None:
    if "/dev/dxg" not in bundle.access:
        return no("dxg-missing", "there is no /dev/dxg", fix="Update WSL: wsl --update, then wsl --shutdown.")
    if "libhsa-runtime64" not in bundle.libraries:
        fix = "Install AMD's ROCm for WSL in this distribution."
        return no("rocm-wsl-runtime-missing", "the HSA runtime for WSL is not installed", fix=fix)
    return None


def _target(bundle: Bundle, device: Device) -> Verdict | None:
    target = device.gfx_target
    if target is None:
        return no("gfx-unknown", "the chip's gfx target is not known", fix="Use Vulkan.")
    override = bundle.environment.get("HSA_OVERRIDE_GFX_VERSION")
    if target in SUPPORTED or override:
        return None
    reason = f"ROCm's libraries hold no kernels for {target}: such a build crashes or prints garbage"
    fix = "Use Vulkan. HSA_OVERRIDE_GFX_VERSION is at your own risk and never set by concierge."
    return no("gfx-unsupported", reason, evidence=target, fix=fix)
