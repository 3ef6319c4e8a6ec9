"""Does this machine meet what a build needs, and on which of its devices?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.catalog.devices import known
from concierge.catalog.flags import LAUNCHERS
from concierge.machine.budget import devices_for
from concierge.plan.words import Rejected, build_name
from concierge.units import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from concierge.catalog.types import Build
    from concierge.machine.types import Device, Machine
    from concierge.plan.words import Cause


@dataclass(frozen=True, slots=True)
class Candidate:
    """A build that could run here.

    Attributes:
        device: The device that it would use; None on the CPU.
        unsure: Constraints that could not be checked, since the machine does not say.
        beside: Further cards that the model's layers are divided among.
    """

    build: Build
    device: Device | None = None
    unsure: tuple[str, ...] = ()
    beside: tuple[Device, ...] = ()

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices that it would use; none on the CPU."""
        return () if self.device is None else (self.device, *self.beside)


@dataclass(frozen=True, slots=True)
class _Check:
    """One constraint: met, not met (with the cause and a sentence), or not to be known."""

    cause: Cause
    met: bool | None
    reason: str


def examine(machine: Machine, build: Build) -> tuple[Candidate, ...] | Rejected:
    """Return the build on each device that it could use, or the first of its constraints that this machine fails."""
    checks = list(_platform(machine, build))
    failed = next((check for check in checks if check.met is False), None)
    if failed is not None:
        return _rejected(build, failed)
    unsure = _doubts(checks)
    if build.accelerator == "cpu":
        return (Candidate(build, None, unsure),)
    usable = machine.usable(build.accelerator)
    if not usable.ok:
        return _rejected(build, _Check("accelerator", False, usable.reason))
    return _on_devices(machine, build, unsure)


def judged(machine: Machine, builds: Iterable[Build]) -> Machine:
    """Return the machine as the plan sees it: an accelerator is usable on a device only where a build can run there."""
    own = [build for build in builds if build.system == machine.system]
    return replace(machine, devices=tuple(_with_builds(machine, device, own) for device in machine.devices))


def _with_builds(machine: Machine, device: Device, builds: Iterable[Build]) -> Device:
    seen = dict(device.accelerators)
    for accelerator, usable in device.accelerators.items():
        against = [_against(machine, build, device) for build in builds if build.accelerator == accelerator]
        if usable.ok and against and all(against):
            reason = f"{usable.reason}, and no build here runs on it: {against[0]}"
            seen[accelerator] = replace(usable, ok=False, reason=reason)
    return replace(device, accelerators=seen)


def _against(machine: Machine, build: Build, device: Device) -> str:
    """Return why a build does not run on a device, or nothing."""
    checks = (*_platform(machine, build), *_device(machine, build, device))
    return next((check.reason for check in checks if check.met is False), "")


def _on_devices(machine: Machine, build: Build, unsure: tuple[str, ...]) -> tuple[Candidate, ...] | Rejected:
    able, against = [], []
    for device in devices_for(machine, build.accelerator):
        checks = list(_device(machine, build, device))
        failed = next((check for check in checks if check.met is False), None)
        if failed is None:
            able.append(Candidate(build, device, unsure + _doubts(checks)))
        else:
            against.append(failed)
    return (*able, *_together(build, able)) if able else _rejected(build, against[0])


def _together(build: Build, able: Iterable[Candidate]) -> Iterator[Candidate]:
    """Yield the build on all cards at once, where there are several: a graphics unit without own memory is none."""
    cards = [each for each in able if each.device is not None and each.device.kind == "discrete"]
    if len(cards) > 1 and build.launcher == "llama-server":
        unsure = tuple(dict.fromkeys(doubt for card in cards for doubt in card.unsure))
        devices = [device for card in cards for device in card.devices]
        yield Candidate(build, devices[0], unsure, tuple(devices[1:]))


def _doubts(checks: Iterable[_Check]) -> tuple[str, ...]:
    return tuple(check.reason for check in checks if check.met is None)


def _rejected(build: Build, check: _Check) -> Rejected:
    return Rejected("engine", build_name(build), check.cause, check.reason, build.accelerator)


def _platform(machine: Machine, build: Build) -> Iterator[_Check]:
    needs = build.needs
    if machine.libc.foreign and not build.by_nix:
        yield _Check("loader", False, machine.libc.foreign)
    if machine.libc.wheels and build.launcher == "xllamacpp":
        yield _Check("wheel", False, machine.libc.wheels)
    if build.launcher not in LAUNCHERS:
        reason = f"concierge cannot start {build.launcher}; start it yourself and set llm.base_url"
        yield _Check("launcher", False, reason)
    if needs.glibc is not None:
        if machine.libc.kind == "glibc":
            yield _floor("glibc", "glibc", needs.glibc, machine.glibc)
        else:
            why = f": {machine.libc.reason}" if machine.libc.reason else ""
            what = "musl" if machine.libc.kind == "musl" else f"no glibc{why}"
            yield _Check("glibc", False, f"needs glibc {needs.glibc}; this machine has {what}")
    if needs.rocm is not None:
        yield _rocm(machine, needs.rocm)
    if needs.macos is not None:
        yield _floor("os", "macOS", needs.macos, machine.os.version or None)
    if needs.windows is not None:
        yield _floor("os", "Windows", needs.windows, machine.os.version or None)


def _device(machine: Machine, build: Build, device: Device) -> Iterator[_Check]:
    needs = build.needs
    if (trouble := known(device.name, build.accelerator)) is not None:
        yield _Check("device", None, trouble.reason)
    if needs.driver is not None:
        version = device.driver.version or (machine.nvidia_driver if device.vendor == "nvidia" else None)
        yield _floor("driver", f"{device.vendor} driver", needs.driver, version)
    if needs.compute:
        yield _floor("compute", "compute capability", needs.compute[0], device.compute_capability)
    if needs.gfx:
        yield _gfx(needs.gfx, device.gfx_target)
    if needs.vulkan is not None:
        yield _floor("vulkan", "Vulkan", needs.vulkan, device.vulkan)


def _rocm(machine: Machine, lowest: str) -> _Check:
    """The build carries none of ROCm's libraries. Where none were looked for, nothing is known of them."""
    if machine.libraries and machine.library("libamdhip64") is None:
        return _Check("library", False, f"needs the libraries of ROCm {lowest}; libamdhip64 is not installed")
    return _floor("library", "the libraries of ROCm", lowest, machine.rocm)


def _floor(cause: Cause, what: str, lowest: str, here: str | None) -> _Check:
    if here is None:
        return _Check(cause, None, f"needs {what} {lowest} or newer, and this machine does not say which it has")
    return _Check(cause, number(here) >= number(lowest), f"needs {what} {lowest} or newer; this machine has {here}")


def _gfx(held: tuple[str, ...], here: str | None) -> _Check:
    if here is None:
        return _Check("gfx", None, "the device does not say which gfx target it is")
    return _Check("gfx", here in held, f"holds no code for {here}, only for {', '.join(held)}")
