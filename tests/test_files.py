from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from concierge import files, mutex
from concierge.errors import ServerError, StoreError

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")

# Takes the draft's lock as `replace` does, says so, and stays until it is ended.
WRITER = """
import os, sys
from concierge import mutex
handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
assert mutex.lock(handle)
print("held", flush=True)
input()
"""


def writer(draft: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    held = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(draft)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    return held


def test_a_file_is_replaced_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    files.replace(file, b"a longer first one")
    files.replace(file, b"second")
    assert file.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


@posix
def test_a_private_file_is_private_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_bytes(b"")
    file.chmod(0o644)
    files.replace(file, b"secret", mode=0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@posix
def test_any_other_file_has_the_permissions_that_the_user_gives_new_ones(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    files.replace(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_that_fails_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_bytes(b"kept")
    with pytest.raises(OSError, match=r"folder") as caught:
        files.replace(folder, b"bytes")
    assert caught.value.errno in (errno.EISDIR, errno.EACCES, errno.ENOTEMPTY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    assert (folder / "kept").read_bytes() == b"kept"


def test_the_next_writer_sweeps_what_a_killed_one_left_and_spares_a_living_one(tmp_path: Path) -> None:
    left = tmp_path / ".a.0123abcd.draft"
    with writer(left) as killed:
        killed.kill()
    slow = tmp_path / ".b.89abcdef.draft"
    with writer(slow) as living:
        files.replace(tmp_path / "file", b"")
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [slow.name, "file"]
        living.communicate("\n", timeout=5)
    files.sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_nothing_but_drafts_is_swept(tmp_path: Path) -> None:
    names = [".draft", "a.0123abcd.draft", ".a.0123abcd.draft.gz", ".a.0123abc.draft", ".a.new"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".a.0123abcd.draft").write_bytes(b"")
    files.sweep(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == set(names)
    files.sweep(tmp_path / "absent")


def test_a_lock_is_seen_by_others_until_its_holder_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    with writer(file) as holder:
        assert mutex.is_held(file)
        with mutex.held_file(file, wait_s=0) as had:
            assert not had
        holder.kill()
    assert not mutex.is_held(file)
    with mutex.held_file(file, wait_s=5) as had:
        assert had
        assert mutex.is_held(file)
    assert not mutex.is_held(file)


@posix
def test_who_looks_whether_a_file_is_held_is_no_holder_to_another_who_looks(tmp_path: Path) -> None:
    import fcntl

    file = tmp_path / "journal"
    with file.open("wb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not mutex.is_held(file)


def test_a_wait_for_a_lock_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "lock"
    with (
        mutex.held_file(file, wait_s=0) as first,
        mutex.held_file(file, wait_s=0.6, waiting=lambda: said.append("waiting")) as second,
    ):
        assert (first, second) == (True, False)
    assert said == ["waiting"]


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "Free some space"), (errno.EDQUOT, "Free some space"), (errno.EACCES, "mine")]
)
def test_a_refusal_becomes_the_callers_error_with_what_to_do(number: int, hint: str) -> None:
    refusal = pytest.raises(ServerError, match=f"Cannot write to place: {os.strerror(number)}")
    with refusal as caught, files.storing(Path("place"), ServerError, hint="mine"):
        raise OSError(number, os.strerror(number))
    assert hint in (caught.value.hint or "")


def test_a_refusal_is_the_stores_when_nobody_says_otherwise() -> None:
    with pytest.raises(StoreError) as caught, files.storing(Path("place")):
        raise OSError("without a number")
    assert "without a number" in caught.value.what
    assert "CONCIERGE_HOME" in (caught.value.hint or "")


def test_who_waited_for_a_lock_whose_file_its_holder_removed_takes_the_lock_of_the_next(tmp_path: Path) -> None:
    file, waits, has, done = tmp_path / "lock", threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with mutex.held_file(file, wait_s=5, waiting=waits.set) as had:
            if had:
                has.set()
                done.wait(5)

    other = threading.Thread(target=second)
    with mutex.held_file(file) as first:
        assert first
        other.start()
        assert waits.wait(5)
        file.unlink()
    assert has.wait(5)
    with mutex.held_file(file, wait_s=0) as third:
        assert not third
    done.set()
    other.join(5)
