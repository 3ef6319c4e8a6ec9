"""Every recorded machine gets a plan, or a sentence that says why not; adding a machine needs no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge.catalog import loader
from concierge.config import Llm
from concierge.deploy import doctor, listing, render
from concierge.deploy.plan import Plan, plan
from concierge.errors import NothingSuitableError
from concierge.machine.bundle import load
from concierge.machine.read import read

if TYPE_CHECKING:
    from concierge.machine.types import Machine

CORPUS = Path(__file__).parent.parent / "machines"
FOLDERS = sorted(folder for folder in CORPUS.iterdir() if folder.is_dir())
CATALOG = loader.load()
COMPUTING = ("nvidia", "amd", "intel", "apple", "qualcomm")


def planned(machine: Machine) -> Plan | NothingSuitableError:
    try:
        return plan(machine, Llm(), CATALOG)
    except NothingSuitableError as error:
        return error


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_recorded_machine_gets_a_plan_and_its_accelerator_is_never_lost_silently(folder: Path) -> None:
    machine = read(load(folder))
    found = planned(machine)
    findings = doctor.diagnose(machine, Llm(), found)
    assert len(listing.models(machine, CATALOG, Llm())) == len(CATALOG.models)
    if isinstance(found, NothingSuitableError):
        # No build is linked against anything but glibc: there is nothing to give such a machine.
        assert machine.libc.kind == "musl" or machine.system is None
        assert doctor.exit_code(findings) == 1
        return
    assert render.text(found)
    json.dumps(render.as_dict(found))
    assert found.accelerator in machine.usable_accelerators
    lost = {device.id for device in machine.devices if device.vendor in COMPUTING and device.kind != "virtual"}
    if found.accelerator == "cpu":
        said = {finding.device for finding in findings if finding.id == "cpu-fallback" and finding.severity == "error"}
        assert said == lost
