"""What git leaves out is left out, whatever the files say that it is told by."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concierge.agent.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILES = (
    "a.o",
    "keep.o",
    "b.txt",
    "build/x",
    "src/a.o",
    "src/build/y",
    "src/b.txt",
    "src/deep/b.txt",
    "[odd] #name.txt",
)
PATTERNS = st.sampled_from(
    [
        *("*.o", "!keep.o", "build", "build/", "/build/", "src/*", "!src/b.txt", "src/**/b.txt", "**/b.txt", "*"),
        *(
            "!*/",
            "# note",
            "",
            "\\#x",
            "[a-k].txt",
            "b.txt  ",
            "deep/",
            "/deep",
            "**",
            "a?o",
            "!",
            "src/",
            "[",
            "\\[odd\\]*",
        ),
    ]
)


def lay(folder: Path, told: Mapping[str, list[str]]) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    for where, lines in told.items():
        (folder / where / ".gitignore").write_text("".join(f"{line}\n" for line in lines))


def git(folder: Path) -> set[str]:
    """Return the files that git would take up."""
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for words in (["init", "-q"], ["ls-files", "-z", "--others", "--exclude-standard"]):
        done = subprocess.run(["git", *words], cwd=folder, env=environ, capture_output=True, check=True, timeout=60)
    return set(filter(None, done.stdout.decode().split("\0")))


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git to compare with")
@settings(max_examples=40, deadline=None)
@given(told=st.fixed_dictionaries({"": st.lists(PATTERNS, max_size=4), "src": st.lists(PATTERNS, max_size=3)}))
def test_what_is_listed_is_what_git_would_take_up(
    tmp_path_factory: pytest.TempPathFactory, told: dict[str, list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("work")
    lay(folder, told)
    assert set(Workspace(folder).files()) == git(folder)


def test_exclusions_that_are_a_link_or_no_text_exclude_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("*\n")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / ".gitignore").symlink_to(tmp_path / "elsewhere")
    (folder / "a").write_text("text")
    assert "a" in set(Workspace(folder).files())
    (folder / ".gitignore").unlink()
    (folder / ".gitignore").write_bytes(b"\xff\xfe\0\n")
    assert "a" in set(Workspace(folder).files())
