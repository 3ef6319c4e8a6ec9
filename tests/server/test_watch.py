from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from concierge.server.processes import table
from concierge.server.watch import Child, Progress

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_silence_stalls_after_the_limit_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    progress = Progress(list, tmp_path / "log", limit_s=10, clock=clock)
    clock.now = 9.9
    assert progress.stalled() is None
    clock.now = 10.1
    assert progress.stalled() == "made no progress for 10 s"


def test_words_in_the_log_are_progress_but_the_trace_of_our_questions_is_not(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=10, clock=clock)
    log.write_bytes(b"x" * 200)
    clock.now = 6.0
    assert progress.stalled() is None
    progress.asked()
    log.write_bytes(b"x" * 400)
    clock.now = 15.9
    assert progress.stalled() is None
    clock.now = 16.1
    assert progress.stalled() is not None


def test_computing_is_progress(tmp_path: Path) -> None:
    clock = Clock()
    me = table.myself()
    progress = Progress(lambda: [me], tmp_path / "log", limit_s=2, clock=clock)
    used = table.usage([me]).cpu_s
    while table.usage([me]).cpu_s < used + 0.03:
        pass
    clock.now = 1.0
    assert progress.stalled() is None
    clock.now = 2.9
    assert progress.stalled() is None


def test_there_is_an_end_even_to_progress(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=1e9, clock=clock)
    clock.now = 4 * 3600.0
    assert progress.stalled() == "was not ready after 4 hours"


def test_a_child_tells_how_it_ended_to_everybody_who_asks() -> None:
    child = Child(subprocess.Popen([sys.executable, "-ISc", "raise SystemExit(7)"]))
    assert child.ended_within(10)
    assert child.ended_within(0)
    assert child.status == 7
