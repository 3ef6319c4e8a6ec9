"""Ask Metal how much memory it recommends to use. No arguments."""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any


def device() -> dict[str, Any]:
    metal = ctypes.CDLL("/System/Library/Frameworks/Metal.framework/Metal")
    runtime = ctypes.CDLL("/usr/lib/libobjc.dylib")
    metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
    runtime.sel_registerName.restype = ctypes.c_void_p
    runtime.sel_registerName.argtypes = [ctypes.c_char_p]
    handle = metal.MTLCreateSystemDefaultDevice()
    if not handle:
        return {}

    def send(name: bytes, kind: Any) -> Any:
        call = ctypes.CFUNCTYPE(kind, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", runtime))
        return call(handle, runtime.sel_registerName(name))

    return {
        "recommended_max_working_set": send(b"recommendedMaxWorkingSetSize", ctypes.c_uint64),
        "unified": send(b"hasUnifiedMemory", ctypes.c_bool),
    }


def main() -> None:
    try:
        found = device()
        answer: dict[str, Any] = {"devices": [found] if found else []}
    except (OSError, AttributeError) as error:
        answer = {"error": f"{type(error).__name__}: {error}", "devices": []}
    sys.stdout.write(json.dumps({"metal": answer}) + "\n")


if __name__ == "__main__":
    main()
