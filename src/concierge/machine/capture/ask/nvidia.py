"""NVML's and the CUDA driver's devices, from the folder of ``pynvml`` and the paths of both libraries or ``-``."""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from typing import Any


def questions(folder: str, nvml_path: str, cuda_path: str) -> dict[str, Any]:
    asked = {"nvml": partial(nvml, folder, nvml_path), "cuda": partial(cuda, cuda_path)}
    return {name: ask for name, ask in asked.items() if ask.args[-1] != "-"}


def nvml(folder: str, library: str) -> dict[str, Any]:
    sys.path.append(folder)
    # A library outside the loader's path (WSL, NixOS) is found by its name once it is loaded.
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    import pynvml  # type: ignore[import-untyped]

    answer: dict[str, Any] = {"devices": []}
    try:
        pynvml.nvmlInit()
        answer["driver"] = pynvml.nvmlSystemGetDriverVersion()
        answer["cuda"] = pynvml.nvmlSystemGetCudaDriverVersion()
        for index in range(pynvml.nvmlDeviceGetCount()):
            answer["devices"].append(nvml_counted(pynvml, index))
    except pynvml.NVMLError as error:
        answer["error"] = str(error)
    return answer


def nvml_counted(pynvml: Any, index: int) -> dict[str, Any]:
    """One lost card hides none of the others."""
    try:
        return nvml_device(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index))
    except pynvml.NVMLError as error:
        return {"error": str(error)}


def nvml_device(pynvml: Any, handle: Any) -> dict[str, Any]:
    record: dict[str, Any] = {}
    try:
        record["name"] = pynvml.nvmlDeviceGetName(handle)
        pci = pynvml.nvmlDeviceGetPciInfo(handle)
        record["bus"], record["pci_device_id"] = pci.busId, pci.pciDeviceId
        record["compute"] = ".".join(str(part) for part in pynvml.nvmlDeviceGetCudaComputeCapability(handle))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        record["memory_total"], record["memory_free"] = memory.total, memory.free
    except pynvml.NVMLError as error:
        record["memory_error" if "compute" in record else "error"] = str(error)
    try:
        if pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            record["slices"] = slices(pynvml, handle)
    except pynvml.NVMLError:
        pass  # most cards cannot be divided
    return record


def slices(pynvml: Any, handle: Any) -> list[dict[str, Any]]:
    """Return the parts that a card was divided into; a number without a part is answered with an error."""
    parts = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(part)
            name = pynvml.nvmlDeviceGetName(part)
        except pynvml.NVMLError:
            continue
        parts.append({"name": name, "memory_total": memory.total, "memory_free": memory.free})
    return parts


def cuda(library: str) -> dict[str, Any]:
    driver = ctypes.CDLL(library)
    answer: dict[str, Any] = {"init": driver.cuInit(0), "devices": []}
    number = ctypes.c_int(0)
    if driver.cuDriverGetVersion(ctypes.byref(number)) == 0:
        answer["version"] = number.value
    if answer["init"] == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0:
        answer["devices"] = [cuda_device(driver, index) for index in range(number.value)]
    return answer


def cuda_device(driver: Any, index: int) -> dict[str, Any]:
    handle, value, text = ctypes.c_int(0), ctypes.c_int(0), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    record: dict[str, Any] = {}
    if driver.cuDeviceGetName(text, 256, handle) == 0:
        record["name"] = text.value.decode(errors="replace")
    if driver.cuDeviceGetPCIBusId(text, 256, handle) == 0:
        record["bus"] = text.value.decode(errors="replace")
    # The numbers are CUdevice_attribute: integrated, and the two parts of the compute capability.
    if driver.cuDeviceGetAttribute(ctypes.byref(value), 18, handle) == 0:
        record["integrated"] = value.value
    parts = []
    for attribute in (75, 76):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        parts.append(str(value.value))
    record["compute"] = ".".join(parts)
    return record
