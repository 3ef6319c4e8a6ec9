"""DXGI's adapters and their memory budgets."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_int32, c_size_t, c_uint32, c_void_p, cast
from typing import Any

# IID_IDXGIFactory1, as the sixteen bytes that a GUID has in memory.
_FACTORY = bytes.fromhex("78ae0a776f2dba4da829253c83d1b387")
_RELEASE, _ENUMERATE, _DESCRIBE = 2, 12, 10
"""Places in the tables of IUnknown, IDXGIFactory1 (EnumAdapters1) and IDXGIAdapter1 (GetDesc1)."""


class Description(Structure):
    _fields_ = (("Description", ctypes.c_uint16 * 128), ("VendorId", c_uint32), ("DeviceId", c_uint32),
                ("SubSysId", c_uint32), ("Revision", c_uint32), ("DedicatedVideoMemory", c_size_t),
                ("DedicatedSystemMemory", c_size_t), ("SharedSystemMemory", c_size_t),
                ("LuidLow", c_uint32), ("LuidHigh", c_int32), ("Flags", c_uint32))  # fmt: skip


def method(pointer: Any, index: int, *kinds: Any) -> Any:
    table = cast(cast(pointer, POINTER(c_void_p))[0], POINTER(c_void_p))
    return ctypes.CFUNCTYPE(c_int32, c_void_p, *kinds)(table[index])


def questions() -> dict[str, Any]:
    return {"dxgi": adapters}


def adapters() -> dict[str, Any]:
    library = ctypes.CDLL("dxgi.dll")
    factory = c_void_p()
    if library.CreateDXGIFactory1(_FACTORY, byref(factory)) != 0:
        return {"adapters": []}
    found: list[dict[str, Any]] = []
    adapter = c_void_p()
    while len(found) < 16 and method(factory, _ENUMERATE, c_uint32, c_void_p)(factory, len(found), byref(adapter)) == 0:
        told = Description()
        method(adapter, _DESCRIBE, c_void_p)(adapter, byref(told))
        found.append(described(told))
        method(adapter, _RELEASE)(adapter)
    return {"adapters": found}


def described(told: Description) -> dict[str, Any]:
    names = ("VendorId", "DeviceId", "DedicatedVideoMemory", "DedicatedSystemMemory", "SharedSystemMemory", "Flags")
    text = bytes(told.Description).decode("utf-16-le", errors="replace").split("\0", 1)[0]
    return {"Description": text} | {name: getattr(told, name) for name in names}
