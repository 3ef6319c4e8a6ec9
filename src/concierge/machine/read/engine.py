"""What an engine build itself says of this machine: its device list, its missing libraries, its missing files.

An engine's own list is the ground truth for that build, so where it disagrees with the bus it is a finding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.machine.read.parse import words
from concierge.machine.types import Finding
from concierge.units import MIB

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle
    from concierge.machine.types import Device

_LINE = re.compile(r"^\s*([A-Za-z]+)(\d{1,3}):\s+(.+?)\s+\((\d{1,9}) MiB, (\d{1,9}) MiB free\)\s*$")


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """One line of ``llama-server --list-devices``; a size of 0 there is None here."""

    backend: str
    index: int
    name: str
    total: int | None
    free: int | None


def listed_devices(text: str) -> list[EngineDevice]:
    """Return the devices that an engine's ``--list-devices`` printed, without the CPU."""
    matches = (_LINE.match(line) for line in text.splitlines())
    devices = (
        EngineDevice(match[1], int(match[2]), words(match[3]), int(match[4]) * MIB or None, int(match[5]) * MIB or None)
        for match in matches
        if match
    )
    return [device for device in devices if device.backend.upper() not in ("CPU", "BLAS")]


def missing_libraries(ldd: str) -> list[str]:
    """Return the libraries that ``ldd`` could not resolve, in any language: the right side is no path."""
    missing = []
    for line in ldd.splitlines():
        name, arrow, target = line.strip().partition(" => ")
        if arrow and not target.startswith("/"):
            missing.append(name)
    return list(dict.fromkeys(missing))


def findings(bundle: Bundle, devices: tuple[Device, ...]) -> list[Finding]:
    """Return what is wrong with the engine that the bundle recorded, if it recorded one."""
    return [*_files(bundle), *_libraries(bundle), *_placement(bundle, devices)]


def _files(bundle: Bundle) -> list[Finding]:
    wanted = bundle.answer("engine").get("files")
    if not isinstance(wanted, list) or "engine" not in bundle.listings:
        return []
    present = set(bundle.listings["engine"])
    gone = [name for name in wanted if isinstance(name, str) and name not in present]
    if not gone:
        return []
    if bundle.system == "windows":
        cause = "Files of the engine are gone after unpacking: antivirus programs quarantine such binaries."
        fix = "Look in the antivirus program's quarantine and restore them; then run `concierge verify`."
    else:
        cause = "Files of the engine are gone."
        fix = "Run `concierge verify`, then `concierge up`; `concierge rollback` goes back to the previous engine."
    return [Finding("engine-file-missing", "error", cause, evidence=", ".join(gone), fix=fix)]


def _libraries(bundle: Bundle) -> list[Finding]:
    gone = [
        name
        for line, output in bundle.commands.items()
        if line.startswith("ldd ")
        for name in missing_libraries(output.stdout)
    ]
    if not gone:
        return []
    companion = any(name.startswith(("libcudart", "libcublas")) for name in gone)
    what = (
        "The CUDA runtime that belongs to the build is not beside it."
        if companion
        else "The engine cannot load a library."
    )
    fix = "Run `concierge up`: the companion archive belongs to the lock." if companion else _package(gone)
    return [Finding("engine-library-missing", "error", what, evidence=", ".join(gone), fix=fix)]


def _package(gone: list[str]) -> str:
    packages = {"libvulkan": "libvulkan1", "libcuda": "the NVIDIA driver's compute libraries", "libgomp": "libgomp1"}
    known = (package for start, package in packages.items() if any(name.startswith(start) for name in gone))
    return f"Install {next(known, 'the package that holds it')} on this system or in this container."


def _placement(bundle: Bundle, devices: tuple[Device, ...]) -> list[Finding]:
    output = next((found for line, found in bundle.commands.items() if "--list-devices" in line), None)
    accelerator = words(bundle.answer("engine").get("accelerator"))
    if output is None or accelerator in ("", "cpu"):
        return []
    able = [device for device in devices if accelerator in device.accelerators]
    if not able or listed_devices(output.stdout):
        return []
    cause = f"The {accelerator} build sees no device although this machine has one: it would run on the CPU."
    said = words(output.stderr) or words(output.stdout) or "it listed nothing"
    fix = "Solve the other findings first; then `concierge up` proves it again."
    return [Finding("engine-cpu-only", "error", cause, evidence=said, fix=fix, device=able[0].id)]
