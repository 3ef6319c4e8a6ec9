"""Every recorded machine gets a plan, or a sentence that says why not; adding a machine needs no code."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge.catalog import loader
from concierge.config.keys import Llm
from concierge.errors import NothingSuitableError
from concierge.fit import speed
from concierge.lock import file as lockfile
from concierge.lock import resolve
from concierge.machine.bundle import load
from concierge.machine.read.machine import read
from concierge.plan import doctor, listing, placement, render
from concierge.plan.decide import plan
from concierge.plan.words import Plan

if TYPE_CHECKING:
    from concierge.catalog.types import Catalog
    from concierge.machine.types import Machine

CORPUS = Path(__file__).parent.parent / "machines"
FOLDERS = sorted(folder for folder in CORPUS.iterdir() if folder.is_dir())
CATALOG = loader.load()
LOCKED = lockfile.parse(lockfile.dump(resolve.resolve(Llm(), CATALOG))).catalog
COMPUTING = ("nvidia", "amd", "intel", "apple", "qualcomm")


def planned(machine: Machine, catalog: Catalog = CATALOG) -> Plan | NothingSuitableError:
    try:
        return plan(machine, Llm(), catalog)
    except NothingSuitableError as error:
        return error


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_recorded_machine_gets_a_plan_and_its_accelerator_is_never_lost_silently(folder: Path) -> None:
    machine = read(load(folder))
    found = planned(machine)
    findings = doctor.diagnose(machine, Llm(), found)
    assert len(listing.models(machine, CATALOG, Llm())) == len(CATALOG.models)
    if isinstance(found, NothingSuitableError):
        # No build is linked against anything but glibc, and NixOS starts none: there is nothing to give such a machine.
        assert machine.libc.kind == "musl" or machine.libc.foreign or machine.system is None
        assert doctor.exit_code(findings) == 1
        return
    assert render.text(found)
    json.dumps(render.as_dict(found))
    assert found.accelerator in machine.usable_accelerators
    lost = {device.id for device in machine.devices if device.vendor in COMPUTING and device.kind != "virtual"}
    if found.accelerator == "cpu":
        fallbacks = [finding for finding in findings if finding.id == "cpu-fallback" and finding.severity == "error"]
        assert {finding.device for finding in fallbacks} == lost
        assert doctor.exit_code(findings) == 1 or not lost
        for finding in fallbacks:
            assert any(f"{name}: " in finding.cause for name in ("cuda", "rocm", "metal", "vulkan")), finding.cause
            assert finding.evidence
            assert finding.fix


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_recorded_vulkan_devices_tell_their_version(folder: Path) -> None:
    for device in read(load(folder)).devices:
        assert device.vulkan is not None or "vulkan" not in device.sources


# Locks as if it ran on each of the machines: whatever a program can ask for the platform gives the recorded answer.
LOCKS = """
import json, os, platform, sys
from types import SimpleNamespace
from concierge.catalog import loader
from concierge.config.keys import Llm
from concierge.lock import file as lockfile
from concierge.lock import resolve

for told, environment in json.loads(sys.stdin.read()):
    system = {"linux": "Linux", "darwin": "Darwin", "windows": "Windows"}.get(told["system"], told["system"])
    uname = SimpleNamespace(system=system, sysname=system, node="n", nodename="n", processor="",
                            **{key: told.get(key, "") for key in ("machine", "release", "version")})
    sys.platform = {"windows": "win32"}.get(told["system"], told["system"])
    platform.uname = os.uname = lambda: uname
    platform.system, platform.machine = lambda: uname.system, lambda: uname.machine
    os.environ.update(environment)
    print(json.dumps(lockfile.dump(resolve.resolve(Llm(), loader.load()))))
    for name in environment:
        del os.environ[name]
"""


def test_the_lock_is_the_same_on_every_recorded_machine() -> None:
    bundles = [load(folder) for folder in FOLDERS]
    platforms = {json.dumps([dict(bundle.platform), dict(bundle.environment)]) for bundle in bundles}
    assert {read(bundle).system for bundle in bundles} >= {"x86_64-linux", "aarch64-darwin", "x86_64-windows"}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{LOCKS}"],
        input=f"[{','.join(sorted(platforms))}]",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    locked = done.stdout.splitlines()
    assert len(locked) == len(platforms)
    assert set(locked) == {json.dumps(lockfile.dump(resolve.resolve(Llm(), CATALOG)))}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_lock_gives_a_recorded_machine_what_the_catalogue_gives_it(folder: Path) -> None:
    machine = read(load(folder))
    found, locked = planned(machine), planned(machine, LOCKED)
    if isinstance(found, NothingSuitableError):
        assert isinstance(locked, NothingSuitableError)
        return
    assert isinstance(locked, Plan)
    # What was not taken may stand in another order: the lock sorts its builds.
    assert set(locked.rejected) == set(found.rejected)
    assert replace(locked, rejected=()) == replace(found, rejected=())


@pytest.mark.parametrize("name", ["01-strix-halo-carve-out", "02-strix-halo-container", "07-gb10-smi-not-available"])
def test_a_large_shared_memory_of_known_speed_carries_the_best_agent_with_all_of_its_context(name: str) -> None:
    found = plan(read(load(CORPUS / name)), Llm(), CATALOG)
    assert found.estimate is not None
    assert (found.estimate.source, found.model_name, found.context) == ("table", "qwen3.8-27b", 262_144)


def test_no_device_of_a_known_chip_is_judged_by_its_kind() -> None:
    chips = speed._document()["chip"]
    for folder in FOLDERS:
        for device in read(load(folder)).devices:
            if device.pci_id in chips or device.gfx_target in chips:
                assert placement.on_device(device).source == "table", (folder.name, device.name)
