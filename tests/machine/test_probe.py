from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge.machine.bundle import Bundle, load
from concierge.machine.capture import gather_linux, gather_macos, gather_windows
from concierge.machine.capture.gather import Host, Part, ask
from concierge.machine.capture.probe import capture, probe, save
from concierge.machine.read.machine import read
from concierge.processes import Output, run

if TYPE_CHECKING:
    from collections.abc import Sequence

CORPUS = Path(__file__).parent.parent / "machines"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads a Linux tree")


class Runner:
    """Answers commands from a table and keeps what was asked."""

    def __init__(self, answers: dict[str, Output]) -> None:
        self.answers = answers
        self.asked: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], seconds: float) -> Output:
        assert seconds <= 6
        self.asked.append(command)
        line = " ".join(command)
        return next((output for part, output in self.answers.items() if part in line), Output(exit=1))


def write(root: Path, path: str, text: str) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def amd_tree(root: Path) -> None:
    base = "/sys/bus/pci/devices/0000:03:00.0"
    write(root, "/proc/meminfo", "MemTotal:       32601234 kB\nMemAvailable:   28000000 kB\n")
    write(root, "/proc/cpuinfo", "processor\t: 0\ncore id\t: 0\n\nprocessor\t: 1\ncore id\t: 1\nflags\t: secret\n")
    write(root, "/proc/self/cgroup", "0::/user.slice/app\n")
    write(root, "/sys/fs/cgroup/user.slice/memory.max", "8589934592\n")
    for name, value in (
        ("class", "0x030000"),
        ("vendor", "0x1002"),
        ("device", "0x744c"),
        ("mem_info_vram_total", "25753026560"),
        ("mem_info_vram_vendor", "samsung"),
    ):
        write(root, f"{base}/{name}", value + "\n")
    (root / f"{base}/driver".lstrip("/")).symlink_to("../../../bus/pci/drivers/amdgpu")
    write(root, "/sys/bus/pci/devices/0000:00:1f.3/class", "0x040300\n")
    write(root, "/sys/class/kfd/kfd/topology/nodes/1/properties", "gfx_target_version 110000\nlocation_id 768\n")
    write(root, "/dev/kfd", "")
    write(root, "/opt/rocm/.info/version", "7.0.2-56\n")
    write(root, "/opt/rocm/lib/libamdhip64.so.10", "")
    write(root, "/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "")


@linux_only
def test_capture_reads_a_linux_tree_and_gives_its_device(tmp_path: Path) -> None:
    amd_tree(tmp_path)
    told = {"vulkan": {"devices": [{"name": "RADV NAVI31", "type": 2, "vendor_id": 0x1002, "pci": "0000:03:00.0"}]}}
    runner = Runner({"ask vulkan": Output(exit=0, stdout=json.dumps(told))})
    bundle = capture(gather_linux.parts(), host=Host(run=runner, environ={"SNAP": "/snap/x"}, root=tmp_path))
    machine = read(bundle)
    assert [device.id for device in machine.devices] == ["0000:03:00.0"]
    assert machine.devices[0].gfx_target == "gfx1100"
    assert machine.memory.limit.bytes == 8 << 30
    assert machine.rocm == "7.0.2"
    assert machine.library("libamdhip64") == "/opt/rocm/lib/libamdhip64.so.10"
    assert machine.environment.snap
    assert bundle.environment == {"SNAP": "set"}
    assert "secret" not in bundle.files["/proc/cpuinfo"]
    assert "/sys/bus/pci/devices/0000:00:1f.3/class" not in bundle.files
    assert len(runner.asked) == 1


@linux_only
def test_nvidia_smi_is_asked_only_when_nvml_lists_nothing(tmp_path: Path) -> None:
    write(tmp_path, "/usr/lib/wsl/lib/libcuda.so.1", "")
    write(tmp_path, "/usr/lib/wsl/lib/nvidia-smi", "")
    row = "0, 00000000:01:00.0, NVIDIA GeForce RTX 4070, 12282 MiB, 10891 MiB, 566.36, 8.9"
    runner = Runner({"nvidia-smi": Output(exit=0, stdout=row), "ask nvidia": Output(exit=-11, stderr="Segfault")})
    bundle = capture(gather_linux.parts(), host=Host(run=runner, environ={}, root=tmp_path))
    assert [device.name for device in read(bundle).devices] == ["NVIDIA GeForce RTX 4070"]
    assert bundle.failures == {"nvidia": "it ended with -11: Segfault"}
    assert len(runner.asked) == 2


def test_macos_parts_gather_what_a_recorded_mac_said(tmp_path: Path) -> None:
    mac = load(CORPUS / "mac-m2-16gb")
    plist = "/System/Library/CoreServices/SystemVersion.plist"
    write(tmp_path, plist, mac.files[plist])
    commands = {line.split(" ", 1)[0]: output for line, output in mac.commands.items()}
    runner = Runner(commands | {"ask metal": Output(exit=0, stdout=json.dumps({"metal": mac.answers["metal"]}))})
    bundle = capture(gather_macos.parts(), host=Host(run=runner, environ={}, root=tmp_path))
    machine = read(replace(bundle, platform=mac.platform))
    assert machine.devices == read(mac).devices
    assert machine.os.version == "15.5"


def test_parts_of_another_system_fail_softly(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("these are its own parts")
    bundle = capture(gather_windows.parts(), host=Host(run=Runner({}), environ={}, root=tmp_path))
    assert {"registry", "system"} <= set(bundle.failures)
    assert read(bundle).findings


@pytest.mark.promise("L30", "L33")
def test_part_that_hangs_or_fails_does_not_take_the_others_with_it() -> None:
    release, ended = threading.Event(), threading.Event()

    def hangs(host: Host) -> Bundle:
        release.wait(20)
        ended.set()
        return Bundle()

    def fails(host: Host) -> Bundle:
        raise RuntimeError("the driver is confused")

    parts = [Part("slow", hangs, 0.05), Part("bad", fails, 1), Part("good", lambda host: Bundle(links={"a": "b"}), 1)]
    bundle = capture(parts, host=Host(run=Runner({}), environ={}))
    assert not ended.is_set()
    release.set()
    assert bundle.links == {"a": "b"}
    assert bundle.failures == {"slow": "no answer within 0.05 s", "bad": "RuntimeError: the driver is confused"}
    assert "probe-incomplete" in {finding.id for finding in read(bundle).findings}


@pytest.mark.promise("L31")
def test_child_that_dies_keeps_what_it_said_before() -> None:
    runner = Runner({"ask nvidia": Output(exit=None, stdout='{"nvml": {"driver": "580.1"}}\n{"cuda": {"in')})
    bundle = ask(Host(run=runner, environ={}), "nvidia", "-", "-", "-", seconds=1)
    assert bundle.answers == {"nvml": {"driver": "580.1"}}
    assert "timeout" in bundle.failures["nvidia"]


@pytest.mark.promise("L32")
def test_command_is_stopped_by_its_timeout_and_keeps_its_output() -> None:
    program = "import sys, time; print('first', flush=True); time.sleep(30)"
    output = run([sys.executable, "-I", "-S", "-c", program], 1)
    assert output.exit is None
    assert output.stdout.strip() == "first"


def test_command_that_does_not_exist_is_an_output_too() -> None:
    assert run(["/nowhere/no-such-tool"], 1).exit == 127


def test_programs_that_ask_libraries_answer_when_there_is_none() -> None:
    host = Host(run=run, environ={})
    for program, arguments in (("vulkan", ["/none.so"]), ("nvidia", ["/none", "/none.so", "/none.so"]), ("metal", [])):
        bundle = ask(host, program, *arguments, seconds=10)
        assert bundle.answers, program
        assert all("error" in answer for answer in bundle.answers.values())
        assert not bundle.failures


def test_probe_of_this_machine_gives_a_machine() -> None:
    machine = probe()
    assert machine.system is not None
    assert machine.memory.total.bytes
    assert machine.cpu.threads
    assert "cpu" in machine.usable_accelerators


def test_saved_capture_loads_like_a_fixture(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    bundle = capture()
    save(bundle, file)
    assert read(load(file)).system == read(bundle).system
