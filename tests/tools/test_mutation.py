from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.wait import gone, until
from tools.mutation.__main__ import Outcome, main, table
from tools.mutation.copy import LEFT_BEHIND_S, MARK, environment, sweep
from tools.mutation.rooms import ROOMS, choose

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [f"concierge.plan.rank.x_better__mutmut_{number}" for number in range(50)]


def test_the_same_changes_are_tried_again_and_another_seed_tries_others() -> None:
    first = choose(NAMES, sample=10, seed="1")
    assert first == choose(reversed(NAMES), sample=10, seed="1")
    assert set(first) != set(choose(NAMES, sample=10, seed="2"))
    assert len(set(first)) == 10


def test_a_change_that_is_gone_makes_room_for_one_other() -> None:
    first = choose(NAMES, sample=10, seed="1")
    again = choose([name for name in NAMES if name != first[3]], sample=10, seed="1")
    assert set(first) - set(again) == {first[3]}


def test_every_change_is_tried_when_no_sample_is_asked_for() -> None:
    assert sorted(choose(NAMES, sample=0, seed="1")) == sorted(NAMES)


def test_every_room_has_sources_and_tests(request: pytest.FixtureRequest) -> None:
    root = request.config.rootpath
    for room in ROOMS.values():
        assert list(root.glob(room.sources.replace("*", "*.py")))
        assert all((root / tests).is_dir() for tests in room.tests)


def test_a_room_that_is_not_there_is_named_before_anything_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["kitchen"])
    assert "there is no room kitchen" in capsys.readouterr().err


def test_the_table_counts_what_was_noticed() -> None:
    shown = table([Outcome("plan", 1953, 60, 3, {"one": "diff", "two": "diff"}, 91.4)], "7")
    assert "| plan | 1953 | 60 | 58 | 97 | 91 |" in shown
    assert shown.endswith("seed 7\n")


def test_a_changed_program_sees_neither_the_users_home_nor_their_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCIERGE_HOME", "/the/users")
    monkeypatch.setenv("XDG_DATA_HOME", "/the/users")
    seen = environment(tmp_path / "repository", tmp_path / "library")
    assert "/the/users" not in seen.values()
    assert seen["HOME"] == str(tmp_path / "home")
    assert seen["TMPDIR"] == str(tmp_path / "tmp")


@pytest.mark.skipif(sys.platform == "win32", reason="mutmut does not run on Windows")
def test_what_a_changed_program_left_running_is_ended_and_nothing_else(tmp_path: Path) -> None:
    sleep = [sys.executable, "-ISc", "print(flush=True); import time; time.sleep(60)"]
    marked = {**os.environ, MARK: str(tmp_path)}
    with (
        subprocess.Popen(sleep, env=marked, stdout=subprocess.PIPE, start_new_session=True) as left,
        subprocess.Popen(sleep, env={**os.environ, MARK: "another"}, stdout=subprocess.PIPE) as other,
    ):
        for child in (left, other):
            assert child.stdout is not None
            child.stdout.readline()
        sweep(tmp_path, older_than_s=LEFT_BEHIND_S)
        assert left.poll() is None
        sweep(tmp_path, older_than_s=0)
        until(lambda: gone(psutil.Process(left.pid)))
        assert other.poll() is None
        other.kill()
