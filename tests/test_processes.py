from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from concierge import mutex, processes
from concierge.processes import LARGEST_OUTPUT, Output, follow, run
from concierge.server.processes import table
from tests.wait import in_time

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups")

# Locks the file that is named, says so on its standard error, and stays.
STAYS = """
import fcntl, sys, time
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
print("held", file=sys.stderr, flush=True)
time.sleep(60)
"""


def python(program: str, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program, *words]


def leader(folder: Path, then: str) -> list[str]:
    """A shell that starts a child which stays, waits until it holds its lock, and goes on as told."""
    stays = folder / "stays.py"
    stays.write_text(STAYS, encoding="utf-8")
    wait = f"until [ -s {folder}/said ]; do sleep 0.02; done"
    return ["sh", "-c", f"{sys.executable} -IS {stays} {folder}/lock 2>{folder}/said & {wait}; echo ready; {then}"]


def assert_gone(folder: Path) -> None:
    """The system gives the child's lock to us as soon as the child is no more."""
    with mutex.held_file(folder / "lock", wait_s=5) as had:
        assert had


def assert_nothing_left(threads: int) -> None:
    assert threading.active_count() == threads
    assert not processes._running
    assert [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE] == []


def test_a_command_gives_both_streams_its_exit_code_and_its_lines_as_they_come() -> None:
    out: list[str] = []
    err: list[str] = []
    program = "import sys; print('a'); print('b', file=sys.stderr); sys.stdout.write('c'); sys.exit(3)"
    assert follow(python(program), seconds=20, out=out.append, err=err.append) == Output(3, "a\nc", "b\n")
    assert (out, err) == (["a", "c"], ["b"])


def test_a_line_is_heard_before_the_command_has_ended(tmp_path: Path) -> None:
    # It ends only when whoever hears its first line has made the file.
    program = (
        "import os, sys, time\nprint('first', flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)"
    )
    go = tmp_path / "go"
    assert follow(python(program, str(go)), seconds=20, out=lambda _: go.touch()).exit == 0


def test_environment_and_folder_are_those_that_are_given(tmp_path: Path) -> None:
    program = "import os; print(os.getcwd(), os.environ.get('GIVEN'), os.environ.get('HOME'))"
    said = follow(python(program), seconds=20, environ={"GIVEN": "yes"}, cwd=tmp_path)
    assert said.stdout.split() == [str(tmp_path.resolve()), "yes", "None"]


def test_a_flood_is_heard_to_its_end_and_kept_to_its_bound() -> None:
    heard: list[int] = []
    program = f"import sys; line = 'x' * 999; [print(line) for _ in range({LARGEST_OUTPUT // 500})]"
    said = follow(python(program), seconds=20, out=lambda line: heard.append(len(line)))
    assert len(said.stdout) == LARGEST_OUTPUT
    assert heard == [999] * (LARGEST_OUTPUT // 500)


def test_a_flood_without_a_line_break_is_not_gathered_for_ever() -> None:
    heard: list[int] = []
    program = f"import sys; sys.stdout.write('x' * {3 * LARGEST_OUTPUT})"
    follow(python(program), seconds=20, out=lambda line: heard.append(len(line)))
    assert sum(heard) == 3 * LARGEST_OUTPUT
    assert max(heard) <= 2 * LARGEST_OUTPUT


@posix
def test_what_takes_too_long_is_ended_with_its_children_and_its_words_are_kept(tmp_path: Path) -> None:
    threads = threading.active_count()
    said = follow(leader(tmp_path, "wait"), seconds=2)
    assert said == Output(None, "ready\n")
    assert_gone(tmp_path)
    assert_nothing_left(threads)


def test_what_is_silent_too_long_is_ended_and_what_speaks_is_not() -> None:
    silent = python("import time; time.sleep(60)")
    assert in_time(lambda: follow(silent, seconds=3600, silence_s=0.3)).exit is None
    speaks = "import time\nfor _ in range(12): print(flush=True); time.sleep(0.1)"
    assert follow(python(speaks), seconds=60, silence_s=1).exit == 0


@posix
def test_what_an_ended_command_left_behind_is_ended_and_holds_nobody_up(tmp_path: Path) -> None:
    threads = threading.active_count()
    said = follow(leader(tmp_path, "exit 7"), seconds=60)
    assert said == Output(7, "ready\n")
    assert_gone(tmp_path)
    assert_nothing_left(threads)


@posix
def test_an_interruption_takes_the_whole_group_along(tmp_path: Path) -> None:
    threads = threading.active_count()

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(leader(tmp_path, "wait"), seconds=60, out=interrupt)
    assert_gone(tmp_path)
    assert_nothing_left(threads)


@posix
def test_a_program_that_ends_while_a_command_runs_takes_it_along(tmp_path: Path) -> None:
    waits = f"""
import sys, threading
sys.path[:] = {sys.path!r}
from concierge.processes import follow
heard = threading.Event()
command = {leader(tmp_path, "wait")!r}
threading.Thread(target=lambda: follow(command, seconds=60, out=lambda _: heard.set()), daemon=True).start()
assert heard.wait(20)
"""
    subprocess.run(python(waits), timeout=60, check=True)
    assert_gone(tmp_path)


def test_what_cannot_be_started_is_an_error_or_an_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        follow([str(tmp_path / "none")], seconds=1)
    assert run([str(tmp_path / "none")], 1).exit == 127


def test_tools_are_asked_in_one_language_and_a_stop_is_said() -> None:
    assert run(python("import os; print(os.environ['LC_ALL'])"), 20).stdout == "C\n"
    assert run(python("import time; time.sleep(60)"), 0.2) == Output(None, "", "stopped after 0.2 s")


def test_a_command_that_floods_waits_for_whoever_hears_it(tmp_path: Path) -> None:
    heard: list[int] = []
    done = tmp_path / "done"
    early = threading.Event()

    def hear(line: str) -> None:
        if not heard and table.wait_until(done.exists, within_s=0.3):
            early.set()
        heard.append(len(line))

    line = LARGEST_OUTPUT // 2
    program = f"import pathlib, sys\nfor _ in range(64): print('x' * {line})\npathlib.Path(sys.argv[1]).touch()"
    assert follow(python(program, str(done)), seconds=20, out=hear).exit == 0
    assert heard == [line] * 64
    assert not early.is_set()
    assert done.exists()
