"""A command that is killed at any call leaves the old state or the new one; ``kill_points.py`` says how it is tried."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("strace is Linux's", allow_module_level=True)

from tests.river.kill_points import possible, sweep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "points", [pytest.param(12, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.sweep)]
)
def test_a_kill_at_any_call_leaves_the_old_state_or_the_new_one(tmp_path: Path, points: int) -> None:
    if not possible():
        pytest.skip("strace cannot watch a program here")
    done, wrong = sweep(tmp_path, points, workers=2)
    assert wrong == []
    assert sum(done.values()) >= points
