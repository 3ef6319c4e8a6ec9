from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.server.processes import table
from concierge.server.processes.identity import Usage
from concierge.server.watch import Child, Progress, unfit, worked

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


@pytest.mark.parametrize(
    ("cpu_s", "faults", "read", "moved"),
    [
        (0.0, 3, 100, False),
        (0.019, 3, 100, False),
        (0.02, 3, 100, True),
        (0.0, 4, 100, True),
        (0.0, 3, 101, True),
        # Some of the processes are gone, and what they had used with them.
        (-1.0, 2, 99, False),
    ],
)
def test_work_is_processor_time_beyond_our_own_questions_or_bytes_from_the_disk(
    cpu_s: float, faults: int, read: int, moved: bool
) -> None:
    assert worked(Usage(0.0, 3, 100), Usage(cpu_s, faults, read), 2.0) is moved


def test_what_it_looks_at_is_what_came_since_the_last_look(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=20, clock=clock)
    log.write_bytes(b"x")
    # Nothing is looked at more often than every 5 s.
    for clock.now in (4.9, 5.0):
        assert progress.stalled() is None
    clock.now = 24.9
    assert progress.stalled() is None
    clock.now = 25.0
    assert progress.stalled() == "made no progress for 20 s"


def test_a_short_limit_is_looked_at_four_times(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=2, clock=clock)
    log.write_bytes(b"x")
    clock.now = 0.5
    assert progress.stalled() is None
    clock.now = 2.4
    assert progress.stalled() is None
    clock.now = 2.5
    assert progress.stalled() == "made no progress for 2 s"


def test_each_question_may_leave_a_line_in_the_log(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=4, clock=clock)
    for second in range(1, 4):
        progress.asked()
        progress.asked()
        log.write_bytes(b"x" * 512 * second)
        clock.now = float(second)
        assert progress.stalled() is None
    clock.now = 4.0
    assert progress.stalled() is not None


def test_one_byte_more_than_our_questions_explain_is_progress(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=4, clock=clock)
    progress.asked()
    log.write_bytes(b"x" * 257)
    clock.now = 1.0
    assert progress.stalled() is None
    clock.now = 4.0
    assert progress.stalled() is None
    clock.now = 5.0
    assert progress.stalled() is not None


def test_there_is_an_end_even_to_progress(tmp_path: Path) -> None:
    clock, log = Clock(), tmp_path / "log"
    progress = Progress(list, log, limit_s=1e9, clock=clock)
    clock.now = 4 * 3600.0 - 0.1
    assert progress.stalled() is None
    clock.now = 4 * 3600.0
    assert progress.stalled() == "was not ready after 4 hours"


def test_a_child_tells_how_it_ended_to_everybody_who_asks() -> None:
    noted: list[int] = []
    child = Child(subprocess.Popen([sys.executable, "-ISc", "raise SystemExit(7)"]), noted.append)
    assert child.ended_within(10)
    assert child.ended_within(0)
    assert (child.status, noted) == (7, [7])


def test_a_child_that_runs_has_not_ended() -> None:
    with subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE) as process:
        child = Child(process, print)
        assert not child.ended_within(0)
        assert child.status is None
        process.kill()
        assert child.ended_within(10)


@pytest.mark.parametrize(
    ("status", "log", "expected"),
    [
        (-4, "", True),
        (-11, "", True),
        (-9, "", False),
        (-15, "", False),
        (1, "llama-server: error while loading shared libraries: libcublas.so.13: cannot open shared object", True),
        (127, "/lib/libc.so.6: version `GLIBC_2.38' not found", True),
        (1, "CUDA error: no kernel image is available for execution on the device", True),
        (1, "ggml_vulkan: Device memory allocation of size 1 failed.", True),
        (1, "xllamacpp lists no GPU device (it lists CPU)", True),
        (1, "error loading model: unknown model architecture: 'new'", False),
        (1, "", False),
        (1, "libggml.so: failed to map segment from shared object; cannot open shared object file", False),
        (None, "", False),
    ],
)
def test_a_build_is_at_fault_where_its_libraries_its_device_or_its_instructions_are_wanting(
    status: int | None, log: str, expected: bool
) -> None:
    assert unfit(status, log) is expected
