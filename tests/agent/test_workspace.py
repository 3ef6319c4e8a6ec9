from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

import pytest

from concierge.agent import workspace as module
from concierge.agent.workspace import CONFINED, Workspace
from concierge.errors import RunError, ToolError

OPEN_FILES = Path("/proc/self/fd")
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


@pytest.mark.promise("S19")
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
    assert list(root.iterdir()) == []


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
    assert sorted(entry.name for entry in root.iterdir()) == ["link.txt", "loop", "up"]


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


@pytest.mark.promise("L16", "L17")
def test_sizes_are_capped_both_ways(workspace: Workspace, root: Path) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(module.READ_BYTES + 1)
    with pytest.raises(ToolError, match="larger than"):
        workspace.read("huge")
    with pytest.raises(ToolError, match="are allowed"):
        workspace.write("big", b"x" * (module.WRITE_BYTES + 1))
    assert not (root / "big").exists()


def test_what_is_as_large_as_allowed_is_taken_both_ways(workspace: Workspace, root: Path) -> None:
    with (root / "large").open("wb") as file:
        file.truncate(module.READ_BYTES)
    assert len(workspace.read("large")) == module.READ_BYTES
    workspace.write("big", b"x" * module.WRITE_BYTES)
    assert (root / "big").stat().st_size == module.WRITE_BYTES


@pytest.mark.promise("L19")
def test_a_path_may_be_as_deep_as_allowed_and_no_deeper(workspace: Workspace) -> None:
    deep = "/".join("d" * (module.DEPTH - 1))
    workspace.write(f"{deep}/f", b"x")
    assert workspace.read(f"{deep}/f") == b"x"
    with pytest.raises(ToolError, match="deeper than 16"):
        workspace.write(f"{deep}/d/f", b"x")


@pytest.mark.promise("L18")
@pytest.mark.parametrize(("count", "more"), [(module.LIST_ENTRIES, False), (module.LIST_ENTRIES + 1, True)])
def test_a_crowded_folder_is_listed_up_to_the_cap(workspace: Workspace, root: Path, count: int, more: bool) -> None:
    for number in range(count):
        (root / f"{number:04}").touch()
    entries, cut = workspace.entries(".")
    assert (len(entries), cut) == (module.LIST_ENTRIES, more)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/etc/passwd", "not inside"), ("~/x", "not inside"), ("\\x", "not inside"), ("C:\\x", "not inside"),
        ("C:/x", "not inside"), ("..", "goes up"), ("a/../b", "goes up"), ("a\0b", "NUL"), ("\ud800", "not valid text"),
        ("", "An empty path is not a file"), (".", "is not a file"), ("a/", "is not a file"),
        ("x" * 300, "cannot be used"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_wrong_with_the_path(workspace: Workspace, path: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        workspace.write(path, b"x")


@pytest.mark.parametrize("path", ["C:x", "..x", "a..b", "x~", "a\\b"])
def test_a_name_that_only_looks_like_a_way_out_is_a_name(workspace: Workspace, root: Path, path: str) -> None:
    workspace.write(path, b"x")
    assert [entry.name for entry in root.iterdir()] == [path]


def test_the_root_itself_may_be_named_in_every_way(workspace: Workspace, root: Path) -> None:
    (root / "f").touch()
    for path in ("", ".", "./", "./."):
        assert [entry.name for entry in workspace.entries(path)[0]] == ["f"]


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(workspace: Workspace, root: Path) -> None:
    workspace.write("f", b"old")
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(ToolError, match="f cannot be used: File too large"):
            workspace.write("f", b"x" * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(entry.name, entry.read_bytes()) for entry in root.iterdir()] == [("f", b"old")]


def test_a_new_file_has_the_permissions_that_the_user_gives_new_ones(workspace: Workspace, root: Path) -> None:
    (root / "plain").touch()
    workspace.write("f", b"x")
    assert (root / "f").stat().st_mode == (root / "plain").stat().st_mode


def test_a_disk_that_fails_ends_the_run_and_is_not_the_models_business() -> None:
    with pytest.raises(RunError, match="cannot be used") as caught, module._explained("f"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (caught.value.where, "CONCIERGE_WORKSPACE" in (caught.value.hint or "")) == ("f", True)


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="this system does not list what is open")
def test_no_file_stays_open(workspace: Workspace, root: Path) -> None:
    workspace.write("d/f", b"x")
    before = len(list(OPEN_FILES.iterdir()))
    for path in ("d/f", "d", "d/f/g", "nothing", "../x"):
        with contextlib.suppress(ToolError):
            workspace.write(path, b"x")
        with contextlib.suppress(ToolError):
            workspace.read(path)
        with contextlib.suppress(ToolError):
            workspace.entries(path)
    assert len(list(OPEN_FILES.iterdir())) == before


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
