from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from concierge.agent import workspace as module
from concierge.agent.workspace import CONFINED, Workspace
from concierge.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not CONFINED, reason="this platform cannot open relative to a directory")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return Workspace(root)


def test_what_was_written_can_be_read_and_listed(workspace: Workspace) -> None:
    workspace.write("src/main.py", b"print()")
    workspace.write("notes.txt", b"")
    assert workspace.read("./src//main.py") == b"print()"
    entries, more = workspace.entries("")
    assert [(entry.name, entry.kind, entry.size) for entry in entries if entry.kind == "file"] == [
        ("notes.txt", "file", 0)
    ]
    assert [entry.name for entry in entries] == ["notes.txt", "src"]
    assert not more


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret.txt", "a/../../secret.txt", "..", "~/x", "\\x", "C:\\x", "a\0b", "\ud800", "", ".", "a/",
     "/".join("d" * 17), "x" * 300],
)  # fmt: skip
def test_a_path_that_is_not_inside_is_refused_by_read_and_write(workspace: Workspace, root: Path, path: str) -> None:
    with pytest.raises(ToolError):
        workspace.read(path)
    with pytest.raises(ToolError):
        workspace.write(path, b"x")
    assert (root.parent / "secret.txt").read_text() == "secret"
    assert list(root.rglob("*.part*")) == []


@pytest.mark.parametrize("path", ["link.txt", "up/secret.txt", "up/new.txt", "loop/x"])
def test_links_are_not_followed(workspace: Workspace, root: Path, path: str) -> None:
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "up").symlink_to(root.parent)
    (root / "loop").symlink_to("loop")
    with pytest.raises(ToolError, match="link"):
        workspace.read(path)
    with pytest.raises(ToolError, match="link"):
        workspace.write(path, b"mine")
    assert (root.parent / "secret.txt").read_text() == "secret"
    assert not (root.parent / "new.txt").exists()


def test_a_linked_folder_is_not_listed(workspace: Workspace, root: Path) -> None:
    (root / "up").symlink_to(root.parent)
    with pytest.raises(ToolError, match="link"):
        workspace.entries("up")
    assert [(entry.name, entry.kind) for entry in workspace.entries(".")[0]] == [("up", "link")]


def test_a_fifo_is_refused_and_never_waited_for(workspace: Workspace, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ToolError, match="not a plain file"):
        workspace.read("pipe")
    with pytest.raises(ToolError, match="not a plain file"):
        workspace.write("pipe", b"x")
    assert [entry.kind for entry in workspace.entries(".")[0]] == ["special"]


def test_a_folder_is_not_a_file_and_a_file_not_a_folder(workspace: Workspace) -> None:
    workspace.write("d/f", b"x")
    with pytest.raises(ToolError, match="is a folder"):
        workspace.read("d")
    with pytest.raises(ToolError, match="is a folder"):
        workspace.write("d", b"x")
    with pytest.raises(ToolError, match="not a folder"):
        workspace.read("d/f/g")
    with pytest.raises(ToolError, match="not a folder"):
        workspace.entries("d/f")


def test_a_missing_file_is_an_error_that_names_list(workspace: Workspace) -> None:
    with pytest.raises(ToolError, match="`list` shows"):
        workspace.read("nothing.txt")


def test_sizes_are_capped_both_ways(workspace: Workspace, root: Path) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(module.READ_BYTES + 1)
    with pytest.raises(ToolError, match="larger than"):
        workspace.read("huge")
    with pytest.raises(ToolError, match="are allowed"):
        workspace.write("big", b"x" * (module.WRITE_BYTES + 1))
    assert not (root / "big").exists()


def test_a_crowded_folder_is_listed_up_to_the_cap(workspace: Workspace, root: Path) -> None:
    for number in range(module.LIST_ENTRIES + 1):
        (root / f"{number:04}").touch()
    entries, more = workspace.entries(".")
    assert (len(entries), more) == (module.LIST_ENTRIES, True)


def test_a_name_that_is_not_text_is_listed_as_text(workspace: Workspace, root: Path) -> None:
    try:
        (root / os.fsdecode(b"caf\xe9")).touch()
    except OSError:
        pytest.skip("this file system holds text names only")
    assert [entry.name for entry in workspace.entries(".")[0]] == ["caf\ufffd"]


def test_a_write_keeps_the_files_mode_and_breaks_its_hard_links(workspace: Workspace, root: Path) -> None:
    outside = root.parent / "secret.txt"
    outside.chmod(0o750)
    (root / "hard").hardlink_to(outside)
    workspace.write("hard", b"mine")
    assert outside.read_text() == "secret"
    assert (root / "hard").stat().st_mode & 0o777 == 0o750


def test_a_folder_that_turns_into_a_link_meanwhile_leads_nowhere(workspace: Workspace, root: Path) -> None:
    """What wins the race is either the inner file or an error, never the file outside."""
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "f").write_text("outside")
    (root / "real").mkdir()
    (root / "real" / "f").write_text("inside")
    (root / "link").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for source in ("real", "link"):
                (root / source).rename(root / "d")
                (root / "d").rename(root / source)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for _ in range(2000):
            with contextlib.suppress(ToolError):
                seen.add(workspace.read("d/f"))
    finally:
        stop.set()
        swapper.join(5)
    assert seen <= {b"inside"}
