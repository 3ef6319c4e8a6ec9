from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from concierge.agent.arguments import BadCallError
from concierge.agent.tools import SHOWN_CHARS, TOOLS, Tools
from concierge.agent.workspace import Workspace
from concierge.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_three_tools_are_offered_with_flat_arguments() -> None:
    functions = [spec["function"] for spec in Tools.specs()]
    assert [function["name"] for function in functions] == ["read", "write", "list"]
    for function in functions:
        assert len(function["parameters"]["required"]) <= 2
        for field in function["parameters"]["properties"].values():
            assert field["type"] in {"string", "integer"}
            assert field["description"]


def test_every_example_is_a_call_that_would_be_accepted() -> None:
    for tool in TOOLS.values():
        tool.model_validate(json.loads(tool.example))


def test_arguments_of_a_neighbouring_type_are_taken(workspace: Workspace, tmp_path: Path) -> None:
    assert Tools(workspace).call("write", '{"path": 7, "content": {"a": [1]}, "mode": "w"}').startswith("Wrote")
    assert json.loads((tmp_path / "7").read_text()) == {"a": [1]}
    assert "[lines 2 to 5 of 5.]" in Tools(workspace).call("read", '{"path": "7", "start": "2"}')


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("bash", '{"command": "ls"}', "Call one of: read, write, list"),
        ("read", "{}", "`path` is missing"),
        ("read", '{"path": ["a"]}', "`path` is wrong"),
        ("read", '{"path": "a", "start": 0}', "`start` is wrong"),
        ("write", '{"path": "a"}', "`content` is missing"),
        ("write", '{"path": "a", "content": true}', "`content` is wrong"),
    ],
)
def test_a_malformed_call_is_told_what_to_send(workspace: Workspace, name: str, arguments: str, says: str) -> None:
    with pytest.raises(BadCallError, match=says):
        Tools(workspace).call(name, arguments)


def test_list_shows_folders_sizes_and_what_cannot_be_read(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "a.txt").write_text("12345")
    (tmp_path / "b").symlink_to("a.txt")
    (tmp_path / "two\nlines").touch()
    assert Tools(workspace).call("list", "null").split("\n") == [
        "a.txt (5 bytes)",
        "b (link, not readable)",
        "src/",
        "'two\\nlines' (0 bytes)",
    ]
    assert Tools(workspace).call("list", '{"path": "src"}') == "(empty folder)"


@pytest.mark.promise("L15")
def test_a_long_file_is_read_window_by_window_without_a_gap(workspace: Workspace, tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(1, 2001)]
    (tmp_path / "long").write_text("\n".join(lines))
    seen: list[str] = []
    while len(seen) < len(lines):
        shown = Tools(workspace).call("read", json.dumps({"path": "long", "start": len(seen) + 1}))
        assert len(shown) < SHOWN_CHARS + 100
        seen += shown.split("\n")[:-1]
    assert seen == lines


def test_a_line_longer_than_a_window_is_cut_and_said_so(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "wide").write_text("x" * 9000 + "\nend")
    assert Tools(workspace).call("read", '"wide"').endswith("[lines 1 to 1 of 2 (cut short). Go on with start=2.]")


@pytest.mark.parametrize(
    ("content", "shown"), [(b"", "(empty file)"), (b"caf\xe9", "caf\ufffd"), (b"a\nb\n", "a\nb\n")]
)
def test_short_files_are_shown_as_they_are(workspace: Workspace, tmp_path: Path, content: bytes, shown: str) -> None:
    (tmp_path / "f").write_bytes(content)
    assert Tools(workspace).call("read", '"f"') == shown


def test_binary_files_and_lines_beyond_the_end_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\0\1")
    (tmp_path / "g").write_bytes(b"1\n2")
    with pytest.raises(ToolError, match="not a text file"):
        Tools(workspace).call("read", '"f"')
    with pytest.raises(ToolError, match="at most 2"):
        Tools(workspace).call("read", '{"path": "g", "start": 3}')
