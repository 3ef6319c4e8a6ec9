from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.machine.capture.marks import marks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's files")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with one NVIDIA card, a network card, and a Vulkan driver."""
    for path, text in {
        "proc/meminfo": "MemTotal:       1024 kB\nMemFree: 1 kB\n",
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: A Processor\n",
        "sys/module/nvidia/version": "580.65.06\n",
        "sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
        "sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "sys/bus/pci/devices/0000:01:00.0/device": "0x2684\n",
        "sys/bus/pci/devices/0000:02:00.0/class": "0x020000\n",
        "usr/share/vulkan/icd.d/nvidia_icd.json": "{}",
        "dev/nvidiactl": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_a_machine_is_told_by_what_a_decision_depends_on(root: Path) -> None:
    found = dict(marks(root))
    found.pop("libc", None)
    assert found == {
        "system": "linux",
        "architecture": os.uname().machine,
        "processors": str(os.cpu_count()),
        "processor": "A Processor",
        "memory": str(1024 * 1024),
        "cards": "10de:2684",
        "devices": "dev/nvidiactl",
        "nvidia driver": "580.65.06",
        "vulkan drivers": "nvidia_icd.json",
    }


def test_another_driver_is_another_machine(root: Path) -> None:
    before = marks(root)
    (root / "sys/module/nvidia/version").write_text("595.10\n")
    assert set(before) ^ set(marks(root)) == {("nvidia driver", "580.65.06"), ("nvidia driver", "595.10")}


def test_a_system_that_shows_nothing_has_few_marks(tmp_path: Path) -> None:
    assert {name for name, _ in marks(tmp_path)} <= {"system", "architecture", "processors", "libc"}
