from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.store import manifest
from concierge.store.manifest import STAMP_S, Fault, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses modes and links")


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """A sealed entry of one file, one program, one link and one folder in a folder."""
    tree = tmp_path / "entry"
    (tree / "lib" / "empty").mkdir(parents=True)
    (tree / "lib" / "data").write_bytes(b"some data")
    (tree / "run").write_bytes(b"#!/bin/sh\n")
    (tree / "run").chmod(0o700)
    (tree / "link").symlink_to("lib/data")
    manifest.write(tree, manifest.seal(tree, {}))
    tree.chmod(manifest.CLOSED)
    return tree


def flip(file: Path) -> None:
    """Change one bit and nothing else that a glance shows."""
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    file.chmod(0o444)
    os.utime(file, (STAMP_S, STAMP_S))


def relink(link: Path) -> None:
    link.unlink()
    link.symlink_to("/etc/passwd")


def into_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def sealed(entry: Path) -> Manifest:
    known = manifest.read(entry)
    assert known is not None
    return known


def test_what_was_sealed_is_whole_at_a_glance_and_when_every_byte_is_read(entry: Path) -> None:
    assert list(manifest.glance(entry)) == []
    assert manifest.examine(entry)[0] == []
    assert [item.path for item in sealed(entry).items] == ["lib", "lib/data", "lib/empty", "link", "run"]


@pytest.mark.parametrize(
    ("path", "damage", "what"),
    [
        ("lib/data", lambda file: file.unlink(), "missing"),
        ("lib/empty", lambda folder: folder.rmdir(), "missing"),
        ("lib/more", lambda file: file.write_bytes(b""), "extra"),
        ("more", lambda folder: folder.mkdir(), "extra"),
        ("lib/data", lambda file: file.chmod(0o644), "mode"),
        ("run", lambda file: file.chmod(0o444), "mode"),
        ("lib", lambda folder: folder.chmod(0o777), "mode"),
        (".", lambda folder: folder.chmod(0o755), "mode"),
        ("lib/data", lambda file: os.utime(file), "touched"),
        ("lib/data", lambda file: file.write_bytes(b"other"), "changed"),
        ("lib/data", into_folder, "changed"),
        ("link", relink, "changed"),
    ],
)
def test_what_was_done_to_an_entry_shows_at_a_glance_with_its_path(
    entry: Path, path: str, damage: Callable[[Path], object], what: manifest.What
) -> None:
    (entry / "lib" / "data").chmod(0o644) if what == "changed" and path == "lib/data" else None
    damage(entry / path)
    assert Fault(entry / path, what) in list(manifest.glance(entry))
    assert not manifest.whole(entry)


def test_one_flipped_bit_is_found_by_reading_and_shows_at_a_glance_from_then_on(entry: Path) -> None:
    flip(entry / "lib" / "data")
    assert manifest.whole(entry)
    assert manifest.examine(entry)[0] == [Fault(entry / "lib" / "data", "changed")]
    assert list(manifest.glance(entry)) == [Fault(entry / "lib" / "data", "touched")]
    assert manifest.examine(entry)[0] == [Fault(entry / "lib" / "data", "changed")]


def test_a_file_that_was_only_touched_is_what_was_brought(entry: Path) -> None:
    os.utime(entry / "lib" / "data")
    assert manifest.examine(entry)[0] == []


@pytest.mark.parametrize("text", [b"", b"{", b"null", b'{"schema": 2}', b'{"schema": 1, "items": [["a"]]}'])
def test_an_entry_whose_manifest_is_lost_or_damaged_is_not_known_to_be_whole(entry: Path, text: bytes) -> None:
    manifest.file_of(entry).write_bytes(text)
    assert list(manifest.glance(entry)) == [Fault(entry, "unknown")]
    assert manifest.examine(entry) == ([Fault(entry, "unknown")], None)


def test_an_entry_that_is_not_there_is_missing(entry: Path) -> None:
    shutil.rmtree(entry)
    assert list(manifest.glance(entry)) == [Fault(entry, "missing")]


def test_modes_times_and_what_is_not_ours_are_put_right_without_new_bytes(entry: Path) -> None:
    known = sealed(entry)
    (entry / "run").chmod(0o777)
    (entry / "lib").chmod(0o700)
    entry.chmod(0o555)
    os.utime(entry / "lib" / "data")
    assert manifest.mended(entry, known) == known
    assert manifest.whole(entry)
    (entry / "lib" / "more").mkdir()
    (entry / "lib" / "more" / "file").write_bytes(b"planted")
    mended = manifest.mended(entry, known)
    assert mended is not None
    # What runs may have loaded it.
    assert (mended.again, manifest.whole(entry)) == (1, True)


def test_a_file_system_that_keeps_neither_times_nor_modes_is_not_compared_by_them(entry: Path) -> None:
    manifest.write(entry, replace(sealed(entry), stamped=False, moded=False))
    for path in (entry, *entry.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777)
    os.utime(entry / "run")
    assert manifest.whole(entry)
    (entry / "run").write_bytes(b"more than there was")
    assert list(manifest.glance(entry)) == [Fault(entry / "run", "changed")]


def test_other_bytes_are_not_put_right(entry: Path) -> None:
    flip(entry / "lib" / "data")
    os.utime(entry / "lib" / "data")
    assert manifest.mended(entry, sealed(entry)) is None


def test_two_trees_with_the_same_content_have_the_same_manifest_to_the_byte(tmp_path: Path) -> None:
    for name, mode in (("one", 0o600), ("two", 0o644)):
        (tmp_path / name / "folder").mkdir(parents=True, mode=mode | 0o100)
        (tmp_path / name / "folder" / "file").write_bytes(b"same")
        (tmp_path / name / "folder" / "file").chmod(mode)
        manifest.write(tmp_path / name, manifest.seal(tmp_path / name, {}))
        (tmp_path / name).chmod(manifest.CLOSED)
    one, two = (manifest.file_of(tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes somebody else")
def test_whoever_owns_an_entry_removes_it_with_chmod_and_rm(entry: Path) -> None:
    for place in (entry, *entry.rglob("*")):
        os.chown(place, 65534, 65534, follow_symlinks=False)
    for folder in (entry.parent, *list(entry.parent.parents)[:2]):
        folder.chmod(0o777)
    removing = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "sh",
        "-c",
        f"chmod -R u+w '{entry}' && rm -rf '{entry}'",
    ]
    done = subprocess.run(removing, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stderr, entry.exists()) == (0, "", False)
