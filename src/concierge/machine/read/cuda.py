"""Whether CUDA is usable on an NVIDIA device: what the bus, the driver and the vendor's own libraries say of it.

Three facts count for each card, and never one card's verdict for another: it is on the bus, a driver is bound to it,
and NVML and CUDA list it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from concierge.machine.read.nvidia import PROC, driver_version, left_alone, served, slices
from concierge.machine.read.parse import fields, integer, pci_address, words
from concierge.machine.read.verdict import Verdict, hidden, no, yes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.machine.bundle import Bundle
    from concierge.machine.types import Device, Environment

_INIT_ERRORS = {
    100: "no device",
    802: "the system is not ready",
    803: "the driver and the CUDA library do not match",
    804: "forward compatibility is not supported on this hardware",
    999: "unknown error",
}
_RELOAD = "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm"
_INIT_FIXES = {
    803: "Remove the CUDA compat library from LD_LIBRARY_PATH, or install the driver that matches it and reboot.",
    999: _RELOAD,
}
_GENERATIONS = (
    (0x0FC0, 0x103F, "Kepler", 470), (0x1180, 0x11FF, "Kepler", 470), (0x1280, 0x12BF, "Kepler", 470),
    (0x1340, 0x17FF, "Maxwell", 580), (0x15F0, 0x15FF, "Pascal", 580), (0x1B00, 0x1D7F, "Pascal", 580),
    (0x1D80, 0x1DFF, "Volta", 580),
)  # fmt: skip
"""Chips that NVIDIA's newest drivers leave alone, by PCI device id, with the last branch that serves them."""

_CUDA_OF_BRANCH = ((13020, 595), (13010, 590), (13000, 580), (12090, 575), (12080, 570))
"""The CUDA that a driver's library speaks and the branch that it came with, newest first."""

_LEGACY = {
    "nixos": "hardware.nvidia.package = config.boot.kernelPackages.nvidiaPackages.legacy_{branch}, then rebuild",
    "arch": "install nvidia-{branch}xx-dkms in place of nvidia-open, then reboot",
    "fedora": "install akmod-nvidia-{branch}xx in place of akmod-nvidia, then reboot",
    "debian": "sudo apt install nvidia-tesla-{branch}-driver, then reboot",
    "ubuntu": "sudo apt install nvidia-driver-{branch}, then reboot",
}
_INSTALL = {
    "nixos": 'Set services.xserver.videoDrivers = [ "nvidia" ] and rebuild.',
    "arch": "Install NVIDIA's driver (sudo pacman -S nvidia-open) and reboot.",
    "fedora": "Install NVIDIA's driver (akmod-nvidia of RPM Fusion) and reboot.",
    "debian": "Install NVIDIA's driver (sudo apt install nvidia-driver) and reboot.",
    "ubuntu": "Install NVIDIA's driver (sudo ubuntu-drivers install) and reboot.",
}
_SIGN = (
    "Secure Boot is on: enrol the key that signs the module (sudo mokutil --import, then reboot), "
    "or switch Secure Boot off."
)
_MISMATCH = "Reboot: the driver was updated, and the kernel still runs the old module."
_TOOLKIT = (
    "On the host: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; "
    "then start the container with --device nvidia.com/gpu=all"
)


def verdict(bundle: Bundle, device: Device, environment: Environment, *, index: int) -> Verdict:
    """Return whether CUDA is usable on ``device``, the ``index``-th NVIDIA device of this machine."""
    failed = (
        _hidden(bundle, index)
        or _mismatched(bundle)
        or _unserved(bundle, device, environment)
        or _without_driver(bundle, device, environment)
        or _lost(bundle, device, environment)
        or _undivided(bundle, device)
        or _init(bundle)
        or _unlisted(bundle, device)
    )
    if failed is not None:
        return failed
    answer = bundle.answer("cuda")
    if "libcuda" not in bundle.libraries and not integer(answer.get("version")):
        return _no_library(environment)
    if integer(answer.get("init")) == 0:
        return yes("cuInit succeeds", f"driver {device.driver.version or 'of unknown version'}")
    if {"nvml", "nvidia-smi"} & set(device.sources):
        return yes("the driver answers and libcuda is there; cuInit was not asked", bundle.libraries.get("libcuda", ""))
    return yes("the kernel driver holds it and libcuda is there; it did not answer, it may sleep", PROC)


def _hidden(bundle: Bundle, index: int) -> Verdict | None:
    value = bundle.environment.get("CUDA_VISIBLE_DEVICES")
    visible = None if value is None else _visible_indexes(value)
    return None if visible is None or index in visible else hidden(bundle, "CUDA_VISIBLE_DEVICES")


def _visible_indexes(value: str) -> list[int] | None:
    """Return the indexes that CUDA_VISIBLE_DEVICES lets through; None when it hides nothing that can be told."""
    parts = [part.strip() for part in value.split(",")]
    if parts in ([""], ["-1"], ["none"]):
        return []
    numbers = [number for part in parts if (number := integer(part)) is not None]
    return numbers if len(numbers) == len(parts) else None


def _without_driver(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    answers = {"nvml", "cuda", "nvidia-smi", "proc", "device-tree"} & set(device.sources)
    if bundle.system == "windows" or answers or (driver_version(bundle) and not left_alone(bundle, device)):
        return None
    if environment.container and device.driver.name in ("", "nvidia"):
        return _no_library(environment)
    if device.driver.name == "nvidia":
        return None
    bound = device.driver.name or "no driver"
    if (loaded := _not_loaded(bundle, device)) is not None:
        return loaded
    fix = _by_system(bundle, _INSTALL) or "Install NVIDIA's driver and reboot."
    return no("nvidia-driver-missing", f"{bound} is bound to it, not NVIDIA's driver", evidence=bound, fix=fix)


def _unserved(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    """A card beside others that work: what the driver says of those is no verdict for it."""
    if not left_alone(bundle, device) or "device-tree" in device.sources:
        return None
    version = driver_version(bundle) or "of unknown version"
    if device.driver.name == "nvidia" or "proc" in device.sources:
        fix = "Start the container again." if environment.container else "Reboot; if it stays, see sudo dmesg."
        reason = "the driver holds it and lists it no more, while other cards work"
        return no("gpu-lost", reason, evidence=f"listed: {', '.join(sorted(served(bundle)))}", fix=fix)
    if device.driver.name:
        return None
    reason = f"the loaded driver {version} does not list it"
    if (old := _dropped(bundle, device)) is not None:
        name, branch = old
        reason = f"the loaded driver {version} ignores it: {branch} is the last branch for {name}"
        fix = _legacy(bundle, branch) + f" Branch {branch} serves the newer cards beside it as well."
        return no("nvidia-driver-ignores", reason, evidence=device.pci_id or "", fix=fix)
    return no("nvidia-driver-ignores", reason, evidence=device.pci_id or "", fix="See sudo dmesg for NVRM's own words.")


def _undivided(bundle: Bundle, device: Device) -> Verdict | None:
    """A card that is to be divided and has no part yet computes nothing."""
    own = (record for record in bundle.records("nvml", "devices") if pci_address(record.get("bus")) == device.id)
    if all(slices(record) != [] for record in own):
        return None
    fix = "Make a part (sudo nvidia-smi mig -cgi 9 -C), or switch it off (sudo nvidia-smi -mig 0)."
    return no("nvidia-mig-empty", "MIG is on and the card has no part", evidence="no MIG device", fix=fix)


def _unlisted(bundle: Bundle, device: Device) -> Verdict | None:
    """NVML knows the card, and CUDA, which lists others, does not."""
    listed = [pci_address(record.get("bus")) for record in bundle.records("cuda", "devices")]
    if not listed or None in listed or device.id in listed or ":" not in device.id:
        return None
    reason, fix = "CUDA does not list it, while other cards work", "Reboot; if it stays, see sudo dmesg."
    return no("cuda-no-device", reason, evidence=f"CUDA lists: {', '.join(map(str, listed))}", fix=fix)


def _mismatched(bundle: Bundle) -> Verdict | None:
    said = _said(bundle)
    if "version mismatch" not in said.lower():
        return None
    reason = "the kernel runs another version of the driver than the one that is installed"
    return no("nvidia-driver-mismatch", reason, evidence=said, fix=_MISMATCH)


def _not_loaded(bundle: Bundle, device: Device) -> Verdict | None:
    """The driver's libraries are there, and no kernel module answers for them."""
    if device.driver.name not in ("", "nouveau") or not {"libcuda", "libnvidia-ml"} & set(bundle.libraries):
        return None
    evidence = _said(bundle) or "no kernel module answers"
    if (old := _dropped(bundle, device)) is not None:
        name, branch = old
        reason = f"NVIDIA's driver is installed and not loaded: {branch} is the last branch that serves {name}"
        return no("nvidia-driver-not-loaded", reason, evidence=evidence, fix=_legacy(bundle, branch))
    secure = bundle.answer("firmware").get("secure_boot") is True
    fix = _SIGN if secure else "sudo modprobe nvidia loads it, or says why not; sudo dmesg has the rest."
    reason = "NVIDIA's driver is installed, and its kernel module is not loaded"
    return no("nvidia-driver-not-loaded", reason, evidence=evidence, fix=fix)


def _dropped(bundle: Bundle, device: Device) -> tuple[str, int] | None:
    """Return the generation of a chip that the installed driver is too new for, and the last branch that serves it."""
    chip = integer(f"0x{(device.pci_id or '').partition(':')[2]}") or 0
    old = next(((name, branch) for low, high, name, branch in _GENERATIONS if low <= chip <= high), None)
    return old if old is not None and _branch(bundle) > old[1] else None


def _branch(bundle: Bundle) -> int:
    """Return the installed driver's branch; what is not known counts as the newest."""
    told = integer((driver_version(bundle) or "").partition(".")[0])
    if told:
        return told
    speaks = integer(bundle.answer("cuda").get("version")) or integer(bundle.answer("nvml").get("cuda"))
    if not speaks:
        return _CUDA_OF_BRANCH[0][1]
    return next((branch for cuda, branch in _CUDA_OF_BRANCH if speaks >= cuda), 0)


def _legacy(bundle: Bundle, branch: int) -> str:
    how = _by_system(bundle, _LEGACY).format(branch=branch)
    return f"Install the legacy branch {branch}{': ' + how if how else ', then reboot'}."


def _by_system(bundle: Bundle, ways: Mapping[str, str]) -> str:
    """Return the way of the system at hand, or of one that it says it is like."""
    release = fields(bundle.text("/etc/os-release"), separator="=")
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").strip('"').split()]
    return next((ways[name.strip('"')] for name in names if name.strip('"') in ways), "")


def _said(bundle: Bundle) -> str:
    """Return what NVML or, where it says nothing, nvidia-smi says instead of devices."""
    smi = bundle.command("nvidia-smi")
    return words(bundle.answer("nvml").get("error")) or (words(smi.stdout + " " + smi.stderr) if smi else "")


def _lost(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    if device.id in served(bundle):
        return None
    said = _said(bundle)
    if not re.search(r"(?i)unknown error|gpu is lost", said):
        return None
    where = "the container lost its access to the GPU" if environment.container else "the driver lost the GPU"
    fix = "Start the container again." if environment.container else _RELOAD
    return no("gpu-lost", where, evidence=said, fix=fix)


def _init(bundle: Bundle) -> Verdict | None:
    code = integer(bundle.answer("cuda").get("init")) or 0
    if code == 0:
        return None
    meaning = _INIT_ERRORS.get(code, "see CUDA's error table")
    fix = _INIT_FIXES.get(code, "Reboot; if it stays, install the driver again.")
    return no("cuda-init-failed", f"cuInit fails: {meaning}", evidence=f"cuInit returned {code}", fix=fix)


def _no_library(environment: Environment) -> Verdict:
    if environment.container:
        reason = "the container was started without the GPU: NVIDIA's libraries are not in it"
        return no("container-without-gpu", reason, evidence="no libcuda.so.1", fix=_TOOLKIT)
    fix = "Install the driver's compute libraries (Debian: libcuda1; Ubuntu: libnvidia-compute-*)."
    return no("cuda-library-missing", "libcuda is not installed", evidence="no libcuda.so.1", fix=fix)
