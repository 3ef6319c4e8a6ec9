from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.agent.overview import LISTED, SHOWN_CHARS, SMALL_CHARS, overview
from concierge.agent.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

LONG = "word " * SMALL_CHARS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def told(folder: Path, task: str = "Do it.") -> str:
    return overview(Workspace(folder), task)


def test_an_empty_folder_needs_no_word(folder: Path) -> None:
    assert told(folder) == ""


def test_a_small_folder_is_shown_whole_and_names_with_blanks_are_quoted(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "a.py").write_text("")
    (folder / "to do.txt").write_text("milk\n")
    listed = (
        "The folder holds: 'to do.txt' (5 bytes), src/a.py (0 bytes), src/. In commands, names with spaces need quotes."
    )
    assert told(folder) == f"{listed}\n\nto do.txt:\n```\nmilk\n```"


def test_of_a_larger_folder_the_files_that_the_task_names_are_shown(folder: Path) -> None:
    (folder / "big.txt").write_text(LONG)
    (folder / "in").mkdir()
    (folder / "in" / "small.txt").write_text("here")
    assert "here" not in told(folder, "Sort it.")
    assert "in/small.txt:\n```\nhere\n```" in told(folder, "Sort small.txt.")
    assert LONG[:50] not in told(folder, "Sort big.txt.")
    assert len(told(folder, "Sort big.txt and small.txt.")) < SHOWN_CHARS + 200


def test_a_fence_is_longer_than_those_in_the_text(folder: Path) -> None:
    (folder / "a.md").write_text("```\ncode\n```\n")
    assert "a.md:\n````\n```\ncode\n```\n````" in told(folder)


def test_what_is_no_text_is_named_and_not_shown(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"\0\1")
    (folder / "b.txt").write_bytes(b"\xff\xfe")
    assert told(folder) == "The folder holds: a.bin (2 bytes), b.txt (2 bytes)."


def test_many_files_are_counted_and_not_all_named(folder: Path) -> None:
    for number in range(LISTED + 5):
        (folder / f"{number:02}").write_text("x")
    assert told(folder).endswith(" and more.")
