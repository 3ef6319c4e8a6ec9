from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from concierge.agent import confined
from concierge.agent.place import OUTPUT_CHARS, shortened
from concierge.agent.sandbox import search
from concierge.agent.sandbox.shell import Outcome
from concierge.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.agent.place import Shell


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def shell(tmp_path: Path, said: list[str]) -> Shell:
    (tmp_path / "work" / ".git").mkdir(parents=True)
    (tmp_path / "work" / ".git" / "config").write_text("secret")
    return shell_of(tmp_path / "work", said, tmp_path / "home")


def shell_of(folder: Path, said: list[str], *invisible: Path, task: str = "") -> Shell:
    sandbox = asyncio.run(search.find())
    if sandbox is None:
        pytest.skip(search.why_not())
    shell = confined.shell_in(sandbox, folder, invisible=invisible, network=False, say=said.append, task=task)
    assert shell is not None
    return shell


def run(shell: Shell, command: str) -> str:
    return asyncio.run(asyncio.wait_for(shell(command), 60))


def test_a_command_works_in_the_folder_and_its_output_is_told(shell: Shell, tmp_path: Path) -> None:
    assert run(shell, "echo one > a; cat a") == "Output:\none\n[new: a]\n+one"
    assert (tmp_path / "work" / "a").read_text() == "one\n"


def test_a_command_that_changes_nothing_is_told_so_but_where_a_question_is_answered(
    tmp_path: Path, said: list[str]
) -> None:
    orders, asks = (shell_of(tmp_path, said, task=task) for task in ("Sort the lines.", "Which is first?"))
    assert run(orders, "true") == run(asks, "true") == "Output:\n(nothing)\n[no file was changed]"
    assert run(orders, "echo text") == f"Output:\ntext\n{confined.PRINTED}]"
    assert run(asks, "echo text") == "Output:\ntext"


def test_a_command_that_would_empty_what_it_reads_is_not_run(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "work" / "a").write_text("2\n1\n")
    with pytest.raises(ToolError, match="would empty a before it is read"):
        run(shell, "sort a > a")
    assert (tmp_path / "work" / "a").read_text() == "2\n1\n"


def test_a_command_that_fails_for_a_missing_folder_is_told_which(shell: Shell) -> None:
    assert "[there is no folder b/c: mkdir -p b/c]" in run(shell, "echo 1 > b/c/a")


def test_a_failed_command_is_told_with_its_exit_code(shell: Shell) -> None:
    assert run(shell, "exit 3") == "Output:\n(nothing)\n[exit code 3]\n[no file was changed]"
    assert "No such file" in run(shell, "cat missing")


def test_what_git_keeps_is_not_to_be_reached(shell: Shell, tmp_path: Path) -> None:
    assert "secret" not in run(shell, "cat .git/config; rm -rf .git; echo x > .git/config")
    assert (tmp_path / "work" / ".git" / "config").read_text() == "secret"


def test_runs_and_the_home_inside_the_folder_are_not_to_be_reached(tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "work"
    for name in ("runs", ".concierge"):
        (folder / name).mkdir(parents=True)
        (folder / name / "journal").write_text("secret")
    shell = shell_of(folder, said, folder / "runs")
    assert "secret" not in run(shell, "cat runs/* .concierge/*")


def test_a_run_of_its_own_lies_inside_of_what_is_invisible(tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "runs" / "1" / "workspace"
    folder.mkdir(parents=True)
    (tmp_path / "runs" / "1" / "events.jsonl").write_text("secret")
    assert "secret" not in run(shell_of(folder, said, tmp_path / "runs"), "cat ../events.jsonl ../../*/*")


def test_a_folder_that_others_share_has_no_shell(said: list[str], tmp_path: Path) -> None:
    sandbox = asyncio.run(search.find())
    if sandbox is None:
        pytest.skip(search.why_not())
    root = tmp_path.__class__("/")
    assert confined.shell_in(sandbox, root, invisible=(), network=False, say=said.append) is None
    assert said[0].startswith("There is no shell in this folder: ")


def test_a_folder_that_is_gone_runs_nothing(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "work").rename(tmp_path / "elsewhere")
    with pytest.raises(ToolError, match="There is no"):
        run(shell, "ls")


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Outcome(None, "so far", cut=False, ended="time"), "so far\n[stopped after 60 s"),
        (Outcome(None, "x" * 9000, cut=True, ended="output"), "[stopped: it printed more than 65536 bytes]"),
    ],
)
def test_a_command_that_was_stopped_is_told_so(outcome: Outcome, says: str) -> None:
    assert says in confined.told(outcome)


def test_a_long_output_keeps_its_beginning_and_its_end() -> None:
    text = shortened("a" * OUTPUT_CHARS + "b" * OUTPUT_CHARS)
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert f"[… {OUTPUT_CHARS} characters left out …]" in text
