"""The tasks of ``bench/agent`` can be done, and nothing passes that was not done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.agent import checks
from bench.agent.task import KINDS, Outcome, Task, lay
from bench.agent.tasks import TASKS

if TYPE_CHECKING:
    from bench.agent.checks import Check

every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def solve(task: Task, folder: Path) -> str:
    """Carry out the reference and return what it said."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ended = subprocess.run(
        ["sh", "-c", task.reference],
        cwd=folder,
        env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"},
        check=True,
        capture_output=True,
        text=True,
        timeout=5,
    )
    return ended.stdout


@every_task
def test_the_reference_solves_the_task(task: Task, tmp_path: Path) -> None:
    lay(task, tmp_path)
    said = solve(task, tmp_path)
    assert task.check(Outcome(tmp_path, said)) == ""


@every_task
def test_an_untouched_folder_and_no_answer_solve_nothing(task: Task, tmp_path: Path) -> None:
    lay(task, tmp_path)
    assert task.check(Outcome(tmp_path)) != ""


@every_task
def test_saying_it_is_done_or_repeating_the_files_solves_nothing(task: Task, tmp_path: Path) -> None:
    lay(task, tmp_path)
    for said in ("Done.", task.request, "\n".join((*task.files, *task.files.values()))):
        assert task.check(Outcome(tmp_path, said)) != ""


@every_task
def test_a_task_that_wants_files_needs_no_answer(task: Task, tmp_path: Path) -> None:
    lay(task, tmp_path)
    solve(task, tmp_path)
    assert bool(task.check(Outcome(tmp_path))) is task.asks


def test_there_are_enough_tasks_of_every_kind_each_with_its_own_name() -> None:
    counts = Counter(task.kind for task in TASKS)
    assert len(TASKS) >= 44
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 7
    assert len({task.name for task in TASKS}) == len(TASKS)
    assert all(task.name.startswith(f"{task.kind}-") for task in TASKS)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (checks.answers("42"), "There are **42** of them."),
        (checks.answers("42"), "42.0"),
        (checks.answers("1234"), "It is 1,234."),
        (checks.answers("12.5"), "The average is 12.50"),
        (checks.answers("2.7.1"), "v2.7.1"),
        (checks.answers("Lisbon"), "LISBON"),
        (checks.answers("b.txt", without=("a.txt",)), "It is ./notes/b.txt."),
    ],
)
def test_an_answer_in_other_words_passes(check: Check, said: str, tmp_path: Path) -> None:
    assert check(Outcome(tmp_path, said)) == ""


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (checks.answers("42"), "142"),
        (checks.answers("42"), "42.5"),
        (checks.answers("42"), "4.42"),
        (checks.answers("10.0.0.7"), "10.0.0.71"),
        (checks.answers("b.txt", without=("a.txt",)), "It is in a.txt or b.txt."),
    ],
)
def test_another_answer_does_not_pass(check: Check, said: str, tmp_path: Path) -> None:
    assert check(Outcome(tmp_path, said)) != ""


def test_a_file_passes_whatever_its_line_ends_and_last_line_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one \r\ntwo\r\n\r\n")
    assert checks.text("a.txt", "one\ntwo")(Outcome(tmp_path)) == ""


def test_a_program_that_does_not_end_is_said_to_be_late(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("while True:\n    pass\n", encoding="utf-8")
    assert "not done in" in checks.prints("a.py", "1", limit_s=0.3)(Outcome(tmp_path))
