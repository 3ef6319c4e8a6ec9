"""The parts of the probe on Windows: the registry and the kernel's own answers, PowerShell only as the last resort."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
from typing import TYPE_CHECKING, Any

from concierge.machine.bundle import Bundle
from concierge.machine.capture.gather import Part, ask, ask_nvidia, ask_vulkan, joined

if TYPE_CHECKING:
    from concierge.machine.capture.gather import Host

_ADAPTERS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_VALUES = ("DriverDesc", "DriverVersion", "MatchingDeviceId", "HardwareInformation.qwMemorySize")
_FEATURES = {38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f", 43: "asimddp"}
"""Numbers of IsProcessorFeaturePresent."""

_CIM = (
    "@{VideoController=@(Get-CimInstance Win32_VideoController|"
    "Select-Object Name,PNPDeviceID,AdapterRAM,DriverVersion)}|ConvertTo-Json -Depth 3"
)
_LIBRARIES = {"libcuda": "nvcuda.dll", "libnvidia-ml": "nvml.dll", "libvulkan": "vulkan-1.dll"}


def parts() -> list[Part]:
    return [
        Part("registry", _registry, 4.0),
        Part("system", _system, 1.0),
        Part("dxgi", lambda host: ask(host, "dxgi", seconds=4.0), 5.0),
        Part("nvidia", lambda host: ask_nvidia(host, _found(host)), 5.0),
        Part("vulkan", lambda host: ask_vulkan(host, _found(host)), 5.0),
    ]


def _registry(host: Host) -> Bundle:
    adapters = [_values(f"{_ADAPTERS}\\{index:04d}", _VALUES) for index in range(16)]
    known = [adapter for adapter in adapters if "MatchingDeviceId" in adapter]
    bundle = Bundle(answers={"registry": {"adapters": known}})
    if known:
        return bundle
    output = host.run(["powershell", "-NoProfile", "-NonInteractive", "-Command", _CIM], 3.5)
    return joined([bundle, Bundle(commands={"powershell CIM": output})])


def _values(key: str, names: tuple[str, ...]) -> dict[str, Any]:
    # winreg exists on Windows only, and its types too.
    winreg: Any = importlib.import_module("winreg")
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
        for name in names:
            with contextlib.suppress(OSError):
                value = winreg.QueryValueEx(opened, name)[0]
                found[name] = int.from_bytes(value, "little") if isinstance(value, bytes) else value
    return found


class _MemoryStatus(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("total", ctypes.c_uint64),
                ("available", ctypes.c_uint64), ("rest", ctypes.c_uint64 * 5))  # fmt: skip


def _system(host: Host) -> Bundle:
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  # the attribute exists on Windows only
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel.GlobalMemoryStatusEx(ctypes.byref(status))
    processor = _values(_PROCESSOR, ("ProcessorNameString", "VendorIdentifier"))
    cpu = {
        "name": processor.get("ProcessorNameString"),
        "vendor": processor.get("VendorIdentifier"),
        "threads": os.cpu_count(),
        "native": host.environ.get("PROCESSOR_ARCHITEW6432") or host.environ.get("PROCESSOR_ARCHITECTURE"),
        "features": [name for number, name in _FEATURES.items() if kernel.IsProcessorFeaturePresent(number)],
    }
    memory = {"total": status.total, "available": status.available}
    return Bundle(answers={"cpu": cpu, "memory": memory}, libraries=_found(host))


def _found(host: Host) -> dict[str, str]:
    folder = host.environ.get("SYSTEMROOT", r"C:\Windows") + "\\System32"
    paths = {name: f"{folder}\\{file}" for name, file in _LIBRARIES.items()}
    return {name: path for name, path in paths.items() if host.path(path).is_file()}
