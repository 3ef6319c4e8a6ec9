"""Every folder under ``tests/machines`` is one recorded machine with its verdict; adding one needs no code."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from concierge.machine.budget import budget
from concierge.machine.bundle import dumps, load, loads
from concierge.machine.read.machine import read
from concierge.machine.redact import redacted
from concierge.machine.report import describe
from concierge.machine.types import Amount, Device, Machine
from concierge.platforms import ACCELERATORS

CORPUS = Path(__file__).parent.parent / "machines"
FOLDERS = sorted(folder for folder in CORPUS.iterdir() if folder.is_dir())
AMOUNTS = ("dedicated", "shared", "unified", "wired_limit", "free")


def recorded(folder: Path) -> tuple[Machine, dict[str, Any]]:
    return read(load(folder)), tomllib.loads((folder / "expected.toml").read_text(encoding="utf-8"))


def plain(value: object) -> object:
    """Return a value as ``expected.toml`` writes it: an unknown amount is the word."""
    if isinstance(value, Amount):
        value = value.bytes
    return "unknown" if value is None else value


def shown(device: Device, key: str) -> object:
    if key in AMOUNTS:
        return plain(getattr(device.memory, key))
    if key in ACCELERATORS:
        return device.can(key)
    if key in ("driver", "driver_version"):
        return plain(device.driver.name if key == "driver" else device.driver.version)
    value = getattr(device, key)
    return list(value) if isinstance(value, tuple) else plain(value)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_recorded_machine_gets_its_verdict(folder: Path) -> None:
    machine, expected = recorded(folder)
    assert expected["note"]
    assert machine.system == expected["system"]
    assert list(machine.usable_accelerators) == expected["usable"]
    for key, value in expected.get("machine", {}).items():
        assert plain(getattr(machine.cpu if hasattr(machine.cpu, key) else machine, key)) == value, key
    for key, value in expected.get("environment", {}).items():
        assert getattr(machine.environment, key) == value, key
    for key, value in expected.get("memory", {}).items():
        assert plain(getattr(machine.memory, key)) == value, key
    for accelerator, value in expected.get("budget", {}).items():
        assert plain(budget(machine, accelerator).bytes) == value, accelerator
    # Two devices may have the same trouble; findings come with the worst first, and the worst is the verdict.
    worst = {finding.id: finding.severity for finding in reversed(machine.findings)}
    assert worst == expected.get("findings", {})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_recorded_machine_has_exactly_its_devices(folder: Path) -> None:
    machine, expected = recorded(folder)
    wanted = expected.get("device", [])
    assert [device.id for device in machine.devices] == [device["id"] for device in wanted]
    for device, facts in zip(machine.devices, wanted, strict=True):
        assert {key: shown(device, key) for key in facts} == facts


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_doubt_has_its_reason(folder: Path) -> None:
    machine, _ = recorded(folder)
    for device in machine.devices:
        assert device.accelerators
        assert all(usable.reason for usable in device.accelerators.values())
        main = device.memory.unified if device.kind in ("integrated", "unified") else device.memory.dedicated
        assert main.source if main.bytes is not None else main.reason
    for accelerator in ACCELERATORS:
        assert budget(machine, accelerator).reason
    for finding in machine.findings:
        assert finding.cause.endswith("."), finding.cause
        assert finding.fix or finding.severity == "info" or finding.id == "cpu-no-avx2"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_fixture_survives_writing_and_names_nobody(folder: Path) -> None:
    bundle = load(folder)
    assert loads(dumps(bundle), where=folder.name) == bundle
    assert redacted(bundle, names=("someone-else",)) == bundle
    assert all(line for line in describe(read(bundle)))


def test_every_numbered_case_is_recorded() -> None:
    numbers = {int(folder.name[:2]) for folder in FOLDERS if folder.name[:2].isdigit()}
    assert numbers == set(range(1, 39))
