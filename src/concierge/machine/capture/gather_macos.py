"""The parts of the probe on macOS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.bundle import Bundle
from concierge.machine.capture.gather import Part, ask, read_files

if TYPE_CHECKING:
    from concierge.machine.capture.gather import Host

_SYSCTL = (
    "hw.memsize", "hw.physicalcpu", "hw.logicalcpu", "hw.optional.arm64", "hw.optional.arm.FEAT_I8MM", "hw.model",
    "machdep.cpu.brand_string", "machdep.cpu.vendor", "machdep.cpu.features", "machdep.cpu.leaf7_features",
    "machdep.cpu.extfeatures", "sysctl.proc_translated", "iogpu.wired_limit_mb", "kern.hv_vmm_present",
)  # fmt: skip

_VERSION = "/System/Library/CoreServices/SystemVersion.plist"
_PROFILER = ("system_profiler", "-json", "SPDisplaysDataType")


def parts() -> list[Part]:
    return [
        Part("files", lambda host: read_files(host, [_VERSION]), 1.0),
        Part("sysctl", lambda host: _command(host, 2.5, "sysctl", *_SYSCTL), 3.0),
        Part("vm_stat", lambda host: _command(host, 2.5, "vm_stat"), 3.0),
        Part("system_profiler", lambda host: _command(host, 5.5, *_PROFILER), 6.0),
        Part("metal", lambda host: ask(host, "metal", seconds=4.0), 5.0),
    ]


def _command(host: Host, seconds: float, *command: str) -> Bundle:
    return Bundle(commands={" ".join(command): host.run(command, seconds)})
