"""Whether CUDA works on an NVIDIA device, and if not, which of the many causes it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.read import nvidia
from concierge.machine.read.parse import integer, words
from concierge.machine.read.verdict import Verdict, no, yes

if TYPE_CHECKING:
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
_TOOLKIT = (
    "On the host: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; "
    "then start the container with --device nvidia.com/gpu=all"
)


def verdict(bundle: Bundle, device: Device, environment: Environment, *, index: int) -> Verdict:
    """Return whether CUDA is usable on ``device``, the ``index``-th NVIDIA device of this machine."""
    checks = (_hidden(bundle, index), _driver(bundle, device, environment), _lost(bundle, environment), _init(bundle))
    failed = next((check for check in checks if check is not None), None)
    if failed is not None:
        return failed
    if "libcuda" not in bundle.libraries and not integer(bundle.answer("cuda").get("version")):
        return _no_library(environment)
    if integer(bundle.answer("cuda").get("init")) == 0:
        return yes("cuInit succeeds", f"driver {device.driver.version or 'of unknown version'}")
    if {"nvml", "nvidia-smi"} & set(device.sources):
        return yes("the driver answers and libcuda is there; cuInit was not asked", bundle.libraries.get("libcuda", ""))
    return yes("the kernel driver holds it and libcuda is there; it did not answer, it may sleep", nvidia.PROC)


def _hidden(bundle: Bundle, index: int) -> Verdict | None:
    visible = nvidia.visible_indexes(bundle)
    if visible is None or index in visible:
        return None
    evidence = f"CUDA_VISIBLE_DEVICES={bundle.environment['CUDA_VISIBLE_DEVICES']}"
    fix = "Unset CUDA_VISIBLE_DEVICES to use it."
    return no("device-hidden", "CUDA_VISIBLE_DEVICES hides it", evidence=evidence, fix=fix, expected=True)


def _driver(bundle: Bundle, device: Device, environment: Environment) -> Verdict | None:
    answers = {"nvml", "cuda", "nvidia-smi", "proc", "device-tree"} & set(device.sources)
    if bundle.system == "windows" or answers or nvidia.driver_version(bundle):
        return None
    if device.driver.name == "nvidia":
        return _no_library(environment) if environment.container else None
    if environment.container and not device.driver.name:
        return _no_library(environment)
    bound = device.driver.name or "no driver"
    fix = "Install NVIDIA's driver (Debian, Ubuntu: sudo apt install nvidia-driver; Fedora: akmod-nvidia) and reboot."
    return no("nvidia-driver-missing", f"{bound} is bound to it, not NVIDIA's driver", evidence=bound, fix=fix)


def _lost(bundle: Bundle, environment: Environment) -> Verdict | None:
    smi = bundle.command("nvidia-smi")
    said = words(bundle.answer("nvml").get("error")) or (words(smi.stdout + " " + smi.stderr) if smi else "")
    if "Unknown Error" not in said:
        return None
    where = "the container lost its access to the GPU" if environment.container else "the driver lost the GPU"
    fix = "Start the container again." if environment.container else _RELOAD
    return no("gpu-lost", where, evidence=said, fix=fix)


def _init(bundle: Bundle) -> Verdict | None:
    code = integer(bundle.answer("cuda").get("init"))
    if code in (None, 0):
        return None
    meaning = _INIT_ERRORS.get(code or 0, "see CUDA's error table")
    fix = {
        803: "Remove the CUDA compat library from LD_LIBRARY_PATH, or install the driver that matches it and reboot.",
        999: _RELOAD,
    }.get(code or 0, "Reboot; if it stays, install the driver again.")
    return no("cuda-init-failed", f"cuInit fails: {meaning}", evidence=f"cuInit returned {code}", fix=fix)


def _no_library(environment: Environment) -> Verdict:
    if environment.container:
        reason = "the container was started without the GPU: NVIDIA's libraries are not in it"
        return no("container-without-gpu", reason, evidence="no libcuda.so.1", fix=_TOOLKIT)
    fix = "Install the driver's compute libraries (Debian: libcuda1; Ubuntu: libnvidia-compute-*)."
    return no("cuda-library-missing", "libcuda is not installed", evidence="no libcuda.so.1", fix=fix)
