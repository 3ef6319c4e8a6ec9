"""What docs/limits.md and docs/security.md promise is tested, and each test says which promise it holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from concierge.machine.capture import gather
from concierge.net import web
from concierge.processes import LARGEST_OUTPUT
from concierge.store.sources import nix, pypi

ROOT = Path(__file__).parents[1]
LIMITS = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PROMISED = re.findall(r"`([LS]\d+)`", LIMITS + SECURITY.partition("whose word counts")[2])
HELD = {
    mark
    for file in (ROOT / "tests").rglob("test_*.py")
    for line in re.findall(r"^@pytest\.mark\.promise\((.*)\)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    for mark in re.findall(r'"([LS]\d+)"', line)
}


def test_every_promise_has_a_mark_of_its_own_and_a_test() -> None:
    marks = [mark for mark in PROMISED if mark not in ("L1", "S1")]
    assert len(marks) == len(set(marks))
    assert set(PROMISED) == HELD


def test_every_bound_in_a_table_is_such_a_promise() -> None:
    rows = [line for line in LIMITS.splitlines() if line.startswith("| ") and not line.startswith("| bound")]
    assert [row for row in rows if not re.search(r"`L\d+` \|$", row)] == []


@pytest.mark.promise("L34")
def test_what_the_probe_reads_is_bounded() -> None:
    assert "| 256 KiB | 256 KiB | 256 KiB |" in LIMITS
    assert (gather._LARGEST_FILE, LARGEST_OUTPUT) == (256 * 1024, 256 * 1024)


@pytest.mark.promise("L35", "L36")
def test_a_publisher_is_not_waited_for_for_ever() -> None:
    with web.downloads({}, follow_redirects=True) as client:
        assert (client.timeout.connect, client.timeout.read) == (15.0, 30.0)


@pytest.mark.promise("L37", "L38")
def test_the_package_indexs_client_and_nix_have_their_bounds() -> None:
    assert (pypi.STALLED_S, nix.TIMEOUT_S) == (120, 3 * 3600)
