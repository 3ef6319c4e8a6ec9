"""The facts of a machine as plain lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.budget import budget
from concierge.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from concierge.machine.types import Amount, Device, Finding, Machine

_MARKS = {"error": "ERROR", "warning": "warning", "info": "note"}


def describe(machine: Machine) -> list[str]:
    """Return what ``concierge doctor`` prints: of the machine: the system, its devices, what is usable."""
    return [
        *_system(machine),
        *(line for device in machine.devices for line in _device(device)),
        *([] if machine.devices else ["device    none"]),
        *_usable(machine),
    ]


def describe_finding(finding: Finding) -> list[str]:
    """Return a finding as one to three lines."""
    lines = [f"{_MARKS[finding.severity]:<9} {finding.id}: {finding.cause}"]
    if finding.evidence:
        lines.append(f"          seen: {finding.evidence}")
    if finding.fix:
        lines.append(f"          fix:  {finding.fix}")
    return lines


def _size(amount: Amount) -> str:
    if amount.bytes is None:
        return f"unknown ({amount.reason})" if amount.reason else "unknown"
    mark = "about " if amount.confidence == "low" else ""
    return mark + gib(amount.bytes)


def _system(machine: Machine) -> list[str]:
    os, cpu = machine.os, machine.cpu
    libc = f"{machine.libc.kind} {machine.libc.version or ''}".strip()
    name = " ".join(part for part in (os.distribution or os.name, os.version) if part)
    cores = f"{cpu.cores or '?'} cores, {cpu.threads or '?'} threads"
    around = _around(machine)
    limit = machine.memory.limit
    limited = "" if limit.bytes is None else f", limited to {_size(limit)}"
    return [
        f"system    {machine.system or 'unknown'}, {name}, kernel {os.kernel or 'unknown'}, {libc}",
        f"cpu       {cpu.model or cpu.vendor or 'unknown'}, {cores}, {cpu.level or 'level unknown'}",
        f"memory    {_size(machine.memory.total)}, available {_size(machine.memory.available)}{limited}",
        *([f"inside    {around}"] if around else []),
    ]


def _around(machine: Machine) -> str:
    environment = machine.environment
    words = (
        "WSL" if environment.wsl else "",
        environment.container,
        "Rosetta" if environment.rosetta else "",
        "snap" if environment.snap else "",
        f"virtual machine ({environment.hypervisor})" if environment.hypervisor else "",
    )
    return ", ".join(word for word in words if word)


def _device(device: Device) -> Iterable[str]:
    chip = device.gfx_target or (f"compute {device.compute_capability}" if device.compute_capability else "")
    traits = ", ".join(part for part in (device.kind, device.id, device.pci_id or "", chip) if part)
    yield f"device    {device.name} ({traits})"
    names = ("dedicated", "shared", "unified", "wired_limit", "free")
    amounts = ((name, getattr(device.memory, name)) for name in names)
    shown = [f"{name.replace('_', ' ')} {_size(value)}" for name, value in amounts if value.bytes or value.reason]
    yield f"          memory: {'; '.join(shown) or 'unknown'}"
    driver = " ".join(part for part in (device.driver.name, device.driver.version) if part)
    yield f"          driver: {driver or 'none'}"
    for accelerator, usable in device.accelerators.items():
        yield f"          {accelerator}: {'usable' if usable.ok else 'not usable'}, {usable.reason}"


def _usable(machine: Machine) -> Iterable[str]:
    for accelerator in machine.usable_accelerators:
        found = budget(machine, accelerator)
        offered = "unknown" if found.bytes is None else gib(found.bytes)
        yield f"usable    {accelerator}: {offered} for a model ({found.reason})"
