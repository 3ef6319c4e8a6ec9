"""How much memory Metal recommends to use."""

from __future__ import annotations

import ctypes
from typing import Any


def questions() -> dict[str, Any]:
    return {"metal": devices}


def devices() -> dict[str, Any]:
    metal = ctypes.CDLL("/System/Library/Frameworks/Metal.framework/Metal")
    runtime = ctypes.CDLL("/usr/lib/libobjc.dylib")
    metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
    runtime.sel_registerName.restype = ctypes.c_void_p
    runtime.sel_registerName.argtypes = [ctypes.c_char_p]
    handle = metal.MTLCreateSystemDefaultDevice()
    if not handle:
        return {"devices": []}

    def send(name: bytes, kind: Any) -> Any:
        call = ctypes.CFUNCTYPE(kind, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", runtime))
        return call(handle, runtime.sel_registerName(name))

    told = {
        "recommended_max_working_set": send(b"recommendedMaxWorkingSetSize", ctypes.c_uint64),
        "unified": send(b"hasUnifiedMemory", ctypes.c_bool),
    }
    return {"devices": [told]}
