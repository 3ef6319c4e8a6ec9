"""Our archive hash and Nix's own, on the same trees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge.store.nar import BLOCK, nar_sha256, sri

if TYPE_CHECKING:
    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def odd_tree(tmp_path: Path) -> Path:
    """Return a folder with everything that the format tells apart."""
    tree = tmp_path / "tree"
    (tree / "empty folder").mkdir(parents=True)
    (tree / "a.b").mkdir()
    (tree / "a.b" / "eight").write_bytes(b"12345678")
    (tree / "empty").touch()
    (tree / "large").write_bytes(os.urandom(2 * BLOCK + 3))
    (tree / "ünï 文").write_bytes(b"1")
    (tree / "new\nline").write_bytes(b"2")
    for mode in (0o755, 0o654, 0o500, 0o444):
        (tree / f"mode-{mode:o}").write_bytes(b"#!/bin/sh\n")
        (tree / f"mode-{mode:o}").chmod(mode)
    (tree / "link").symlink_to("empty")
    (tree / "dangling").symlink_to("./nowhere//é/")
    (tree / "to folder").symlink_to("a.b")
    if os.name == "posix" and os.uname().sysname == "Linux":
        Path(os.fsdecode(os.fsencode(tree) + b"/raw\xfe")).symlink_to(os.fsdecode(b"target\xff"))
    return tree


def test_the_hash_is_nixs_own_on_odd_trees_and_on_each_of_their_parts(nix: Nix, odd_tree: Path) -> None:
    for path in (odd_tree, *sorted(odd_tree.iterdir())):
        assert sri(nar_sha256(path)) == nix.run("hash", "path", path).stdout.strip(), path


def test_the_hash_is_nixs_own_on_a_source_tree(nix: Nix) -> None:
    assert sri(nar_sha256(SOURCE)) == nix.run("hash", "path", SOURCE).stdout.strip()
