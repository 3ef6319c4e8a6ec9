from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.agent.arguments import BadCallError
from concierge.agent.place import Place
from concierge.agent.tools import SHOWN_CHARS, TOOLS, Tools
from concierge.agent.workspace import Workspace
from concierge.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, Workspace(tmp_path))


def call(place: Place, name: str, arguments: str) -> str:
    return asyncio.run(Tools(place).call(name, arguments))


def test_few_tools_are_offered_with_flat_arguments_and_a_shell_only_where_there_is_one(place: Place) -> None:
    async def shell(command: str) -> str:
        return command

    functions = [spec["function"] for spec in Tools(replace(place, shell=shell)).specs()]
    assert [function["name"] for function in functions] == ["read", "write", "edit", "list", "search", "shell"]
    assert [spec["function"] for spec in Tools(place).specs()] == functions[:-1]
    for function in functions:
        assert len(function["parameters"]["required"]) <= 3
        for field in function["parameters"]["properties"].values():
            assert field["type"] in {"string", "integer"}
            assert field["description"]


def test_every_example_is_a_call_that_would_be_accepted() -> None:
    for tool in TOOLS.values():
        tool.model_validate(json.loads(tool.example))


def test_arguments_of_a_neighbouring_type_are_taken(place: Place, tmp_path: Path) -> None:
    assert call(place, "write", '{"path": 7, "content": {"a": [1]}, "mode": "w"}').startswith("Wrote")
    assert json.loads((tmp_path / "7").read_text()) == {"a": [1]}
    assert "[lines 2 to 5 of 5.]" in call(place, "read", '{"path": "7", "start": "2"}')


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("bash", '{"command": "ls"}', "Call one of: read, write, edit, list, search"),
        ("read", "{}", "`path` is missing"),
        ("read", '{"path": ["a"]}', "`path` is wrong"),
        ("read", '{"path": "a", "start": 0}', "`start` is wrong"),
        ("write", '{"path": "a"}', "`content` is missing"),
        ("write", '{"path": "a", "content": true}', "`content` is wrong"),
    ],
)
def test_a_malformed_call_is_told_what_to_send(place: Place, name: str, arguments: str, says: str) -> None:
    with pytest.raises(BadCallError, match=says):
        call(place, name, arguments)


def test_list_shows_folders_sizes_and_what_cannot_be_read(place: Place, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "a.txt").write_text("12345")
    (tmp_path / "b").symlink_to("a.txt")
    (tmp_path / "two\nlines").touch()
    assert call(place, "list", "null").split("\n") == [
        "a.txt (5 bytes)",
        "b (link, not readable)",
        "src/",
        "'two\\nlines' (0 bytes)",
    ]
    assert call(place, "list", '{"path": "src"}') == "(empty folder)"


@pytest.mark.promise("L15")
def test_a_long_file_is_read_window_by_window_without_a_gap(place: Place, tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(1, 2001)]
    (tmp_path / "long").write_text("\n".join(lines))
    seen: list[str] = []
    while len(seen) < len(lines):
        shown = call(place, "read", json.dumps({"path": "long", "start": len(seen) + 1}))
        assert len(shown) < SHOWN_CHARS + 100
        seen += shown.split("\n")[:-1]
    assert seen == lines


def test_a_line_longer_than_a_window_is_shown_as_several_so_that_all_of_it_can_be_read(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "wide").write_text("x" * 9000 + "\nend")
    shown = [call(place, "read", json.dumps({"path": "wide", "start": start})) for start in (1, 2, 3)]
    assert shown[0].endswith("[lines 1 to 1 of 4. Go on with start=2.]")
    assert sum(text.count("x") for text in shown) == 9000
    assert "end" in shown[2]


@pytest.mark.parametrize(
    ("content", "shown"), [(b"", "(empty file)"), (b"caf\xe9", "caf\ufffd"), (b"a\nb\n", "a\nb\n")]
)
def test_short_files_are_shown_as_they_are(place: Place, tmp_path: Path, content: bytes, shown: str) -> None:
    (tmp_path / "f").write_bytes(content)
    assert call(place, "read", '"f"') == shown


def test_binary_files_and_lines_beyond_the_end_are_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\0\1")
    (tmp_path / "g").write_bytes(b"1\n2")
    with pytest.raises(ToolError, match="not a text file"):
        call(place, "read", '"f"')
    with pytest.raises(ToolError, match="at most 2"):
        call(place, "read", '{"path": "g", "start": 3}')


@pytest.mark.parametrize(
    ("old", "new", "becomes"),
    [
        ("b = 2", "b = 3", "def f():\n    a = 1\n    b = 3\n"),
        ("a = 1\nb = 2", "c = 4\nd = 5", "def f():\n    c = 4\n    d = 5\n"),
        ("  a  =  1", "  a = 9", "def f():\n    a = 9\n    b = 2\n"),
    ],
)
def test_a_passage_is_replaced_exactly_or_but_for_white_space(
    place: Place, tmp_path: Path, old: str, new: str, becomes: str
) -> None:
    (tmp_path / "f.py").write_text("def f():\n    a = 1\n    b = 2\n")
    assert call(place, "edit", json.dumps({"path": "f.py", "old": old, "new": new})).startswith("Changed line")
    assert (tmp_path / "f.py").read_text() == becomes


@pytest.mark.parametrize(
    ("old", "says"),
    [
        ("x = 1", "stands 2 times"),
        ("y  = 2\nz", "does not stand in f. The nearest line is 'y = 3'"),
        ("?", "`read` shows"),
    ],
)
def test_a_passage_that_is_not_there_once_is_told_what_to_send(
    place: Place, tmp_path: Path, old: str, says: str
) -> None:
    (tmp_path / "f").write_text("x = 1\nx = 1\ny = 3\n")
    with pytest.raises(ToolError, match=says):
        call(place, "edit", json.dumps({"path": "f", "old": old, "new": "n"}))
    assert (tmp_path / "f").read_text() == "x = 1\nx = 1\ny = 3\n"


def test_a_search_names_file_and_line_and_leaves_out_what_is_not_worked_on(place: Place, tmp_path: Path) -> None:
    for name in (".git", "src", "build"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("one\nTwo here\n")
    (tmp_path / ".gitignore").write_text("build/\n# note\n!x\n")
    (tmp_path / "b.bin").write_bytes(b"two\0")
    assert call(place, "search", '{"text": "TWO"}') == "src/a.txt:2: Two here"
    assert ".git/" not in call(place, "list", "{}")
    with pytest.raises(ToolError, match="is in no file"):
        call(place, "search", '"nowhere"')


def test_a_search_shows_so_many_lines_and_says_that_there_are_more(place: Place, tmp_path: Path) -> None:
    (tmp_path / "many").write_text("hit\n" * 80)
    assert call(place, "search", '"hit"').endswith("[and more: look for a longer text, or in a smaller folder]")


def test_a_command_without_a_shell_is_told_so(place: Place) -> None:
    with pytest.raises(BadCallError, match="no tool 'shell'"):
        call(place, "shell", '"ls"')
