from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from concierge.errors import VerifyError
from concierge.store.nar import BLOCK, archive, nar_sha256, sri

# Printed by `nix hash path` 2.34.8 for the same trees.
EMPTY_FILE = "sha256-d6xi4mKdjkX2JFicDIv5niSzpyI0m/Hnm8GGAIU04kY="
HELLO = "sha256-HDfQGvQL4ugGkd48w99EN3ppmvuxfGjwgJZLL9Bx/BM="
SCRIPT = "sha256-YoPBZoJg+QPRqJXAzWuCL6S2h2K7CxfO3vLTnZfiZVQ="
EMPTY_FOLDER = "sha256-pQpattmS9VmO3ZIQUFn66az8GSmB4IvYhTTCFn6SUmo="
LINK_TO_A = "sha256-stRxoI0wZi8UwK4ecYsW+fwfON5CX0fMoEN+npO8HyQ="

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no executable bit, sockets or free names")


def written(path: Path, content: bytes, *, mode: int = 0o644) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def printed(path: Path) -> str:
    return sri(nar_sha256(path))


def test_files_and_folders_have_the_hash_that_nix_prints(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert printed(written(tmp_path / "empty", b"")) == EMPTY_FILE
    assert printed(written(tmp_path / "hello", b"hello\n")) == HELLO
    assert printed(tmp_path / "folder") == EMPTY_FOLDER


@posix
def test_a_link_is_hashed_by_its_target_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    assert printed(tmp_path / "link") == LINK_TO_A
    (tmp_path / "untidy").symlink_to("./a//b/")
    assert b"./a//b/" in b"".join(archive(tmp_path / "untidy"))


@posix
def test_only_the_owners_executable_bit_counts(tmp_path: Path) -> None:
    assert printed(written(tmp_path / "script", b"#!/bin/sh\n", mode=0o755)) == SCRIPT
    assert printed(written(tmp_path / "owner", b"#!/bin/sh\n", mode=0o500)) == SCRIPT
    assert printed(written(tmp_path / "group", b"#!/bin/sh\n", mode=0o654)) != SCRIPT


def test_an_archive_is_the_format_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    written(tmp_path / "B", b"12345678")

    def text(word: str) -> bytes:
        raw = word.encode()
        return len(raw).to_bytes(8, "little") + raw + b"\0" * (-len(raw) % 8)

    words = ["nix-archive-1", "(", "type", "directory"]
    words += ["entry", "(", "name", "B", "node", "(", "type", "regular", "contents", "12345678", ")", ")"]
    words += ["entry", "(", "name", "b", "node", "(", "type", "directory", ")", ")", ")"]
    assert b"".join(archive(tmp_path)) == b"".join(map(text, words))


@posix
def test_names_sort_by_their_bytes_and_need_not_be_text(tmp_path: Path) -> None:
    names = [b"z", b"\xff", b"Z", b"a.b", b"a", b"new\nline", "ü".encode(), b"-", b" "]
    if sys.platform == "darwin":
        names.remove(b"\xff")  # its file systems take only Unicode
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    found = b"".join(archive(tmp_path))
    places = [found.index(len(name).to_bytes(8, "little") + name + bytes(-len(name) % 8)) for name in sorted(names)]
    assert places == sorted(places)


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    large = written(tmp_path / "large", bytes(3 * BLOCK + 5))
    assert max(map(len, archive(large))) == BLOCK
    assert sum(map(len, archive(large))) % 8 == 0


@posix
def test_a_tree_deeper_than_pythons_stack_is_hashed(tmp_path: Path) -> None:
    depth = 1200
    deepest = tmp_path.joinpath(*["d"] * depth)
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    assert len(nar_sha256(tmp_path)) == 64
    for folder in [deepest, *deepest.parents][:depth]:  # pytest's own clean-up recurses
        folder.rmdir()


@posix
def test_a_socket_has_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may have about a hundred bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(VerifyError, match="a socket, a pipe or a device"):
            nar_sha256(tmp_path)


@posix
def test_a_pipe_has_no_hash_and_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(VerifyError, match="pipe") as caught:
        nar_sha256(tmp_path)
    assert caught.value.where == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, whose files hold more than they say")
def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    with pytest.raises(VerifyError, match="changed while it was read"):
        nar_sha256(Path("/proc/self/status"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match="missing"):
        nar_sha256(tmp_path / "missing")
