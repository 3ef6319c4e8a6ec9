"""Vulkan's devices, their buses and their heaps, from the loader at a path."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_uint32, c_uint64, c_void_p, cast
from functools import partial
from typing import Any

_APPLICATION, _INSTANCE = 0, 1
_PROPERTIES_2, _MEMORY_2 = 1000059001, 1000059006
_PCI, _DRIVER, _BUDGET = 1000212000, 1000196000, 1000237000
_VERSION_1_1 = (1 << 22) | (1 << 12)


class Application(Structure):
    _fields_ = (("type", c_uint32), ("next", c_void_p), ("name", c_char_p), ("version", c_uint32),
                ("engine", c_char_p), ("engine_version", c_uint32), ("api", c_uint32))  # fmt: skip


class Instance(Structure):
    _fields_ = (("type", c_uint32), ("next", c_void_p), ("flags", c_uint32), ("application", POINTER(Application)),
                ("layers", c_uint32), ("layer_names", c_void_p),
                ("extensions", c_uint32), ("extension_names", c_void_p))  # fmt: skip


class Extension(Structure):
    _fields_ = (("name", c_char * 256), ("version", c_uint32))


class Pci(Structure):
    _fields_ = (("type", c_uint32), ("next", c_void_p), ("domain", c_uint32), ("bus", c_uint32),
                ("device", c_uint32), ("function", c_uint32))  # fmt: skip


class Driver(Structure):
    _fields_ = (("type", c_uint32), ("next", c_void_p), ("id", c_uint32), ("name", c_char * 256),
                ("info", c_char * 256), ("conformance", c_uint32))  # fmt: skip


class Properties(Structure):
    """The head of VkPhysicalDeviceProperties2; what follows (limits) is only room for the driver to write to."""

    _fields_ = (("type", c_uint32), ("next", c_void_p), ("api", c_uint32), ("driver", c_uint32), ("vendor", c_uint32),
                ("device", c_uint32), ("kind", c_uint32), ("name", c_char * 256), ("rest", c_uint64 * 256))  # fmt: skip


class Budget(Structure):
    _fields_ = (("type", c_uint32), ("next", c_void_p), ("budget", c_uint64 * 16), ("usage", c_uint64 * 16))


class MemoryType(Structure):
    _fields_ = (("flags", c_uint32), ("heap", c_uint32))


class Heap(Structure):
    _fields_ = (("size", c_uint64), ("flags", c_uint32))


class Memory(Structure):
    _fields_ = (("type", c_uint32), ("next", c_void_p), ("type_count", c_uint32), ("types", MemoryType * 32),
                ("heap_count", c_uint32), ("heaps", Heap * 16))  # fmt: skip


def questions(path: str) -> dict[str, Any]:
    return {"vulkan": partial(devices, path)}


def devices(path: str) -> dict[str, Any]:
    loader = ctypes.CDLL(path)
    application = Application(_APPLICATION, None, b"concierge", 1, b"concierge", 1, _VERSION_1_1)
    wanted = Instance(_INSTANCE, None, 0, ctypes.pointer(application), 0, None, 0, None)
    instance = c_void_p()
    result = loader.vkCreateInstance(byref(wanted), None, byref(instance))
    if result != 0:
        return {"result": result, "error": f"vkCreateInstance returned {result}", "devices": []}
    count = c_uint32(0)
    result = loader.vkEnumeratePhysicalDevices(instance, byref(count), None)
    handles = (c_void_p * max(count.value, 1))()
    if result == 0 and count.value:
        result = loader.vkEnumeratePhysicalDevices(instance, byref(count), handles)
    found = [device(loader, c_void_p(handles[at])) for at in range(count.value)]
    return {"result": result, "devices": found}


def device(loader: Any, handle: Any) -> dict[str, Any]:
    known = extensions(loader, handle)
    pci, driver, properties = Pci(type=_PCI), Driver(type=_DRIVER), Properties(type=_PROPERTIES_2)
    chained = ((pci, "VK_EXT_pci_bus_info"), (driver, "VK_KHR_driver_properties"))
    for part, extension in chained:
        if extension in known:
            part.next, properties.next = properties.next, cast(byref(part), c_void_p)
    loader.vkGetPhysicalDeviceProperties2(handle, byref(properties))
    record: dict[str, Any] = {
        "name": properties.name.decode(errors="replace"),
        "type": properties.kind,
        "vendor_id": properties.vendor,
        "device_id": properties.device,
        "api": f"{properties.api >> 22}.{properties.api >> 12 & 1023}.{properties.api & 4095}",
    }
    if "VK_EXT_pci_bus_info" in known:
        record["pci"] = f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.{pci.function}"
    if "VK_KHR_driver_properties" in known:
        record["driver"] = driver.name.decode(errors="replace")
        record["driver_info"] = driver.info.decode(errors="replace")
    return record | {"heaps": heaps(loader, handle, known)}


def extensions(loader: Any, handle: Any) -> set[str]:
    count = c_uint32(0)
    loader.vkEnumerateDeviceExtensionProperties(handle, None, byref(count), None)
    listed = (Extension * max(count.value, 1))()
    loader.vkEnumerateDeviceExtensionProperties(handle, None, byref(count), listed)
    return {listed[at].name.decode(errors="replace") for at in range(count.value)}


def heaps(loader: Any, handle: Any, known: set[str]) -> list[dict[str, int]]:
    memory, budget = Memory(type=_MEMORY_2), Budget(type=_BUDGET)
    told = "VK_EXT_memory_budget" in known
    if told:
        memory.next = cast(byref(budget), c_void_p)
    loader.vkGetPhysicalDeviceMemoryProperties2(handle, byref(memory))
    found = []
    for at in range(min(memory.heap_count, 16)):
        heap = {"size": memory.heaps[at].size, "flags": memory.heaps[at].flags}
        found.append(heap | ({"budget": budget.budget[at], "usage": budget.usage[at]} if told else {}))
    return found
