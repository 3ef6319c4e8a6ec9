"""The processor: its name, its cores, and the instruction level that a prebuilt binary may use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from concierge.machine.read import apple
from concierge.machine.read.parse import fields, found, integer, words
from concierge.machine.types import Cpu

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle

_LEVELS = (
    ("x86-64-v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
_ARM_LEVELS = (
    ("armv9.0", {"sve2"}),
    ("armv8.6", {"i8mm", "bf16"}),
    ("armv8.2", {"asimddp", "atomics"}),
)
_MACOS_WORDS = {"avx1.0": "avx", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "lzcnt": "abm", "lahf": "lahf_lm"}
_ARM_MAKERS = {"0x41": "ARM", "0x4e": "NVIDIA", "0x51": "Qualcomm", "0x61": "Apple", "0xc0": "Ampere"}
_X86 = ("x86_64", "amd64", "AMD64")


def facts(bundle: Bundle) -> Cpu:
    """Return what is known of the processor."""
    return {"darwin": _macos, "windows": _windows}.get(bundle.system, _linux)(bundle)


def level(features: set[str], machine: str) -> str | None:
    """Return the instruction level that a set of features amounts to; None when no feature is known."""
    if not features:
        return None
    if machine not in _X86:
        return next((name for name, needed in _ARM_LEVELS if needed <= features), "armv8.0")
    reached = "x86-64-v1"
    for name, needed in _LEVELS:
        if not needed <= features:
            break
        reached = name
    return reached


def _linux(bundle: Bundle) -> Cpu:
    text = bundle.text("/proc/cpuinfo")
    processors = [fields(block) for block in text.split("\n\n")[:1024]]
    first = processors[0]
    features = set((first.get("flags") or first.get("Features") or "").split())
    cores = {(one.get("physical id"), one["core id"]) for one in processors if "core id" in one}
    maker = first.get("CPU implementer", "")
    return Cpu(
        vendor=words(first.get("vendor_id")) or _ARM_MAKERS.get(maker, maker),
        model=words(first.get("model name")) or words(bundle.text("/proc/device-tree/model")),
        cores=len(cores) or None,
        threads=_threads(bundle, text),
        level=level(features, bundle.platform.get("machine", "")),
        features=tuple(sorted(features)),
    )


def _threads(bundle: Bundle, cpuinfo: str) -> int | None:
    listed = sum(1 for line in cpuinfo.splitlines() if line.startswith("processor"))
    allowed = integer(bundle.answer("cpu").get("affinity")) or listed
    quota = bundle.text("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and (limit := integer(quota[0])) and (period := integer(quota[1])) and limit > 0 < period:
        allowed = min(allowed, math.ceil(limit / period)) if allowed else math.ceil(limit / period)
    return allowed if allowed > 0 else None


def _macos(bundle: Bundle) -> Cpu:
    told = apple.sysctl(bundle)
    listed = " ".join(told.get(f"machdep.cpu.{name}", "") for name in ("features", "leaf7_features", "extfeatures"))
    features = {_MACOS_WORDS.get(word, word) for word in listed.lower().split()}
    silicon = apple.is_silicon(bundle)
    if silicon:
        features = {"asimd", "asimddp", "atomics"}
        features |= {"i8mm", "bf16"} if told.get("hw.optional.arm.FEAT_I8MM") == "1" else set()
    return Cpu(
        vendor="Apple" if silicon else words(told.get("machdep.cpu.vendor")),
        model=words(told.get("machdep.cpu.brand_string")),
        cores=_positive(told.get("hw.physicalcpu")),
        threads=_positive(told.get("hw.logicalcpu")),
        level=level(features, "arm64" if silicon else "x86_64"),
        features=tuple(sorted(features)),
    )


def _windows(bundle: Bundle) -> Cpu:
    told = bundle.answer("cpu")
    listed = told.get("features")
    features = {word for word in listed if isinstance(word, str)} if isinstance(listed, list) else set()
    machine = bundle.platform.get("machine", "")
    name = words(told.get("name"))
    return Cpu(
        vendor=words(told.get("vendor")) or found(name, r"^(\w+)"),
        model=name,
        cores=_positive(told.get("cores")),
        threads=_positive(told.get("threads")),
        level=_windows_level(features, machine),
        features=tuple(sorted(features)),
    )


def _windows_level(features: set[str], machine: str) -> str | None:
    """Windows names few features: AVX2 stands for the whole of its level, AVX-512F for that above."""
    if not features or machine not in _X86:
        return "armv8.2" if "asimddp" in features else None
    if "avx512f" in features:
        return "x86-64-v4"
    return "x86-64-v3" if "avx2" in features else "x86-64-v2" if "sse4_2" in features else "x86-64-v1"


def _positive(value: object) -> int | None:
    number = integer(value)
    return number if number is not None and 0 < number < 1 << 16 else None
