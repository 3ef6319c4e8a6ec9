"""What a machine is, at a glance: what a decision was made for is not decided again while these stay.

The whole probe takes seconds; these are a few small files, so that every command can look at them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

DISPLAY = "0x03"
"""Beginning of the class of a device on the PCI bus that shows or computes pictures."""

DEVICES = ("dev/nvidiactl", "dev/kfd", "dev/dri")
DRIVERS = ("usr/share/vulkan/icd.d", "etc/vulkan/icd.d")


def marks(root: Path = Path("/")) -> tuple[tuple[str, str], ...]:
    """Return names and values, sorted: processor, memory (bytes), devices, drivers, C library; unknown ones are absent.

    Args:
        root: Where the system's files are.
    """
    found = {"system": sys.platform, "processors": str(os.cpu_count() or "")}
    if os.name == "posix":
        found["architecture"] = os.uname().machine
    if sys.platform == "linux":
        found |= {
            "memory": _memory(root / "proc/meminfo"),
            "processor": _line(root / "proc/cpuinfo", "model name"),
            "libc": _libc(),
            "cards": _cards(root / "sys/bus/pci/devices"),
            "devices": " ".join(name for name in DEVICES if (root / name).exists()),
            "nvidia driver": _text(root / "sys/module/nvidia/version"),
            "vulkan drivers": " ".join(sorted({name for folder in DRIVERS for name in _names(root / folder)})),
        }
    elif os.name == "posix":
        found["release"] = os.uname().release
    return tuple(sorted((name, value) for name, value in found.items() if value))


def _memory(file: Path) -> str:
    size = _line(file, "MemTotal").removesuffix("kB").strip()
    return str(int(size) * 1024) if size.isdigit() else ""


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        return ""


def _cards(folder: Path) -> str:
    """Return vendor and device of everything on the bus that could compute, in the bus's order."""
    shown = [folder / name for name in sorted(_names(folder)) if _text(folder / name / "class").startswith(DISPLAY)]
    return " ".join(f"{_text(card / 'vendor')[2:]}:{_text(card / 'device')[2:]}" for card in shown)


def _line(file: Path, name: str) -> str:
    """Return what stands behind a name in the first lines of a file."""
    lines = _text(file).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def _text(file: Path) -> str:
    try:
        with file.open("rb") as data:
            return data.read(4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  # names are what is wanted
    except OSError:
        return []
