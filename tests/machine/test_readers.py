from __future__ import annotations

from pathlib import Path

import pytest

from concierge.errors import UsageError
from concierge.machine.budget import cpu_budget
from concierge.machine.bundle import Bundle, load, loads
from concierge.machine.read.amd import gfx_name
from concierge.machine.read.cpu import level
from concierge.machine.read.machine import read
from concierge.machine.read.memory import own_groups
from concierge.machine.read.parse import amount, hex_id, integer, pci_address
from concierge.machine.read.system import libc
from concierge.machine.read.windows import driver_version
from concierge.machine.report import describe, describe_finding
from concierge.machine.types import Amount, Finding, MemoryFacts
from concierge.units import GIB

CORPUS = Path(__file__).parent.parent / "machines"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("00000000:01:00.0", "0000:01:00.0"),
        ("0000000F:01:00.0", "000f:01:00.0"),
        ("01:00.0", "0000:01:00.0"),
        ("0000:C5:00.0", "0000:c5:00.0"),
        ("N/A", None),
        ("", None),
        (7, None),
    ],
)
def test_pci_addresses_are_written_in_one_way(written: object, address: str | None) -> None:
    assert pci_address(written) == address


@pytest.mark.parametrize("value", [0, "0", -1048576, "18446744073709551615", 2**63])
def test_zero_negative_and_absurd_sizes_are_unknown_with_a_reason(value: object) -> None:
    told = amount(value, "somewhere")
    assert told.bytes is None
    assert "means unknown" in told.reason


def test_numbers_are_read_strictly() -> None:
    assert integer("0x1f") == 31
    assert integer("1,5") is None
    assert integer("٣٤") is None
    assert integer(True) is None
    assert hex_id("0x10de") == "10de"
    assert hex_id(0x10DE) == "10de"
    assert hex_id(0x10005) is None


@pytest.mark.parametrize(
    ("parts", "name"),
    [((11, 0, 0), "gfx1100"), ((9, 0, 10), "gfx90a"), ((11, 5, 1), "gfx1151"), ((0, 0, 0), None), ((9, 40, 2), None)],
)
def test_gfx_targets_are_named_as_the_compiler_does(parts: tuple[int, int, int], name: str | None) -> None:
    assert gfx_name(*parts) == name


def test_windows_driver_numbers_become_the_makers() -> None:
    assert driver_version("nvidia", "32.0.15.6094") == "560.94"
    assert driver_version("amd", "32.0.21025.1024") == "32.0.21025.1024"
    assert driver_version("nvidia", "") == ""


def test_instruction_levels_need_every_feature_below_them() -> None:
    assert level({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "x86_64") == "x86-64-v1"
    assert level({"asimd", "asimddp", "atomics"}, "aarch64") == "armv8.2"
    assert level(set(), "x86_64") is None


def test_cgroup_paths_include_every_group_above() -> None:
    assert own_groups("0::/a/b", "0::") == ["/a", "/a/b"]
    assert own_groups("5:memory,cpu:/x\n0::/", "memory") == ["/x"]
    assert own_groups("0::/../../etc", "0::") == ["/etc"]


def test_budget_does_not_follow_what_happens_to_be_free() -> None:
    idle = MemoryFacts(Amount(16 * GIB, "t"), Amount(15 * GIB, "a"))
    busy = MemoryFacts(Amount(16 * GIB, "t"), Amount(2 * GIB, "a"))
    assert cpu_budget(idle).bytes == cpu_budget(busy).bytes == 14 * GIB
    assert cpu_budget(busy).now == 2 * GIB


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', "[" * 100_000])
def test_what_is_no_bundle_is_a_usage_error_that_says_so(text: str) -> None:
    with pytest.raises(UsageError, match="not a probe bundle"):
        loads(text, where="mine.json")


def test_bundle_that_is_not_there_or_not_text_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        load(tmp_path / "bytes.json")


def test_finding_is_an_object_for_programs() -> None:
    assert Finding("x", "error", "It broke.", fix="mend it").as_dict() == {
        "id": "x",
        "severity": "error",
        "cause": "It broke.",
        "evidence": "",
        "fix": "mend it",
        "device": None,
    }


NIXOS = {"/etc/os-release": "ID=nixos"}
LOADER = "/lib64/ld-linux-x86-64.so.2"


@pytest.mark.parametrize(
    ("files", "told", "starts"),
    [
        (NIXOS, {"loaders": [LOADER], "targets": ["stub-ld"]}, False),
        (NIXOS, {"loaders": [LOADER], "targets": ["nix-ld"]}, True),
        ({}, {"loaders": [LOADER], "targets": ["ld-linux-x86-64.so.2"]}, True),
        ({}, {"loaders": [], "targets": []}, False),
        ({}, {}, True),
    ],
    ids=("nixos", "nix-ld", "debian", "only-nix", "not-asked"),
)
def test_foreign_programs_start_where_their_loader_is(
    files: dict[str, str], told: dict[str, object], starts: bool
) -> None:
    bundle = Bundle(platform={"system": "Linux", "machine": "x86_64"}, files=files, answers={"libc": told})
    found = libc(bundle)
    assert (found.foreign == "") is starts
    assert found.wheels == ""


def test_a_python_of_nix_does_not_find_what_a_wheel_needs() -> None:
    told = {"loaders": [LOADER], "nix_python": True}
    assert "C++ library" in libc(Bundle(platform={"system": "Linux"}, answers={"libc": told})).wheels


def test_report_reads_like_a_page() -> None:
    machine = read(load(CORPUS / "05-ttm-limit"))
    lines = describe(machine)
    assert lines[0] == "system    x86_64-linux, ubuntu 24.04, kernel 6.11.0-26-generic, glibc 2.39"
    assert "device    AMD Radeon Graphics (RADV GFX1151) (integrated, 0000:c5:00.0, 1002:1586, gfx1151)" in lines
    assert any(line.startswith("usable    rocm: 15.5 GiB for a model") for line in lines)
    told = [line for finding in machine.findings for line in describe_finding(finding)]
    assert any(line.startswith("          fix:  For three quarters of it, add ttm.pages_limit=") for line in told)
    assert not any(line in lines for line in told)
