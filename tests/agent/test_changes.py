"""What a run changes in a folder of its user's is seen, and put back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.agent import changes, runs
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall
from concierge.cli import runs as cli
from concierge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and links are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    (made / "src").mkdir(parents=True)
    (made / "src" / "a b.py").write_text("one\ntwo\n")
    (made / "data.bin").write_bytes(b"\0\1")
    (made / "tool.sh").write_text("echo\n")
    (made / "gone.txt").write_text("stay\n")
    (made / "link").symlink_to("tool.sh")
    (made / os.fsdecode(b"odd-\xff")).write_text("odd\n")
    (made / ".gitignore").write_text("build\n")
    (made / "build").mkdir()
    (made / "build" / "x").write_text("x")
    (made / ".git").mkdir()
    (made / ".git" / "HEAD").write_text("ref")
    return made


def spoil(folder: Path) -> None:
    (folder / "src" / "a b.py").write_text("one\n2\n")
    (folder / "data.bin").write_bytes(b"\0\2")
    (folder / "tool.sh").chmod(0o755)
    (folder / "gone.txt").unlink()
    (folder / "link").unlink()
    (folder / "link").symlink_to("data.bin")
    (folder / os.fsdecode(b"odd-\xff")).write_text("even\n")
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "n.txt").write_text("new\n")


def contents(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (0, str(path.readlink()))
        elif path.is_file():
            found[name] = (path.stat().st_mode & 0o777, path.read_bytes())
        else:
            found[name] = (0, "folder")
    return found


@pytest.fixture
def kept(tmp_path: Path, folder: Path) -> Path:
    changes.keep(folder, tmp_path / "kept")
    return tmp_path / "kept"


def test_every_kind_of_change_is_seen_in_the_diff_and_put_back(folder: Path, kept: Path) -> None:
    before = contents(folder)
    spoil(folder)
    found = changes.finish(kept)
    assert {change.path for change in found.changed} == {
        "src/a b.py", "data.bin", "tool.sh", "gone.txt", "link", os.fsdecode(b"odd-\xff"), "new/deep/n.txt",
    }  # fmt: skip
    told = list(changes.diff(found))
    for line in (
        "--- a/src/a b.py", "-two", "+2", "Binary file data.bin is changed.", "mode of tool.sh: 644 -> 755",
        "+++ /dev/null", "-link to tool.sh", "+link to data.bin", "+new",
    ):  # fmt: skip
        assert line in told
    assert changes.undo(found) == []
    assert contents(folder) == before
    assert changes.undo(found) == []


def test_what_somebody_has_changed_since_is_left_alone_and_named(folder: Path, kept: Path) -> None:
    spoil(folder)
    found = changes.finish(kept)
    (folder / "tool.sh").write_text("mine\n")
    (folder / "gone.txt").write_text("mine too\n")
    assert {path for path, _ in changes.undo(found)} == {"tool.sh", "gone.txt"}
    assert (folder / "tool.sh").read_text() == "mine\n"
    assert (folder / "src" / "a b.py").read_text() == "one\ntwo\n"


def test_nothing_is_put_back_through_a_link_that_leads_out(tmp_path: Path, folder: Path, kept: Path) -> None:
    (folder / "src" / "a b.py").unlink()
    found = changes.finish(kept)
    (folder / "src").rmdir()
    (tmp_path / "outside").mkdir()
    (folder / "src").symlink_to(tmp_path / "outside")
    assert [path for path, _ in changes.undo(found)] == ["src/a b.py"]
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_is_not_worked_on_is_neither_kept_nor_seen(folder: Path, kept: Path) -> None:
    (folder / ".git" / "HEAD").write_text("other")
    (folder / "build" / "x").write_text("y")
    assert changes.finish(kept).changed == ()
    assert not (kept / "files" / ".git").exists()


def test_a_run_that_was_killed_is_undone_by_what_differs_now(folder: Path, kept: Path) -> None:
    before = contents(folder)
    spoil(folder)
    found = changes.read(kept)
    assert found is not None
    assert changes.undo(found) == []
    assert contents(folder) == before


def test_a_folder_that_holds_too_much_is_refused_before_anything_begins(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEPT_FILES", 3)
    with pytest.raises(UsageError, match="could not be undone"):
        changes.keep(folder, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    with pytest.raises(UsageError):
        asyncio.run(run_task(FakeChat([]), Task("t", "m"), workspace_root=tmp_path / "root", inside=folder))
    assert runs.ids(tmp_path / "root") == []


def test_a_run_works_in_the_folder_and_leaves_what_undoes_it(tmp_path: Path, folder: Path) -> None:
    written = ToolCall("1", "write", '{"path": "src/a b.py", "content": "1\\n"}')
    chat = FakeChat([Reply("", tool_calls=[written]), "Done."])
    root = tmp_path / "root"
    result = asyncio.run(run_task(chat, Task("t", "m"), workspace_root=root, inside=folder))
    assert (folder / "src" / "a b.py").read_text() == "1\n"
    found = changes.read(runs.find(root, result.id).kept)
    assert found is not None
    assert [change.path for change in found.changed] == ["src/a b.py"]
    assert "src/a b.py" in chat.asked[0].messages[-1]["content"]
    changes.undo(found)
    assert (folder / "src" / "a b.py").read_text() == "one\ntwo\n"


def test_a_run_of_its_own_folder_kept_nothing(play: Callable[..., object], tmp_path: Path) -> None:
    play(FakeChat(["Done."]))
    assert changes.read(runs.find(tmp_path, "last").kept) is None


def test_the_commands_say_what_is_wrong_with_a_folder_or_a_run(tmp_path: Path) -> None:
    def concierge(*words: str) -> tuple[int, str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CONCIERGE_HOME": str(tmp_path / "state")}
        command = [sys.executable, "-m", "concierge", *words]
        done = subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stderr

    (tmp_path / "file").write_text("")
    for name, what in (("nowhere", "does not exist"), ("file", "is no folder")):
        code, told = concierge("run", "--in", name, "hi")
        assert (code, what in told) == (2, True)
    run = runs.create(tmp_path / ".concierge")
    assert concierge("runs", "diff", "last")[0] == 2
    assert "folder of its own" in concierge("runs", "undo", run.id)[1]


def test_the_commands_show_and_undo_what_a_run_changed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = ToolCall("1", "write", '{"path": "gone.txt", "content": "other\\n"}')
    chat = FakeChat([Reply("", tool_calls=[written]), "Done."])
    asyncio.run(run_task(chat, Task("t", "m"), workspace_root=tmp_path / ".concierge", inside=folder))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONCIERGE_HOME", str(tmp_path / "state"))
    assert cli.diff(run_id="last", workspace=None) is None
    assert "+other" in capsys.readouterr().out
    cli.diff(run_id="last", as_json=True, workspace=None)
    assert json.loads(capsys.readouterr().out)["paths"] == ["gone.txt"]
    assert cli.undo(run_id="last", workspace=None) == 0
    assert (folder / "gone.txt").read_text() == "stay\n"
    assert "Put back: gone.txt." in capsys.readouterr().err
    (folder / "gone.txt").write_text("mine\n")
    assert cli.undo(run_id="last", as_json=True, workspace=None) == 1
    assert json.loads(capsys.readouterr().out)["left"][0]["path"] == "gone.txt"
    with pytest.raises(UsageError, match="is no folder"):
        cli.folder_of(folder / "gone.txt")
    assert cli.folder_of(folder) == folder.resolve()
    assert cli.folder_of(None) is None
