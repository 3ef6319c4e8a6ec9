"""The copy in which changes are tried: the working tree, the user's home and the machine stay as they are."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tools.mutation.rooms import BARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.mutation.rooms import Room

MARK = "MUTATION_COPY"
"""In the environment of every process that a changed program starts, however it starts it."""

LEFT_BEHIND_S = 180
"""An orphan this old belongs to no test that still runs."""

SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["{sources}"]
do_not_mutate = [{bare}]
also_copy = [{also}]
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-seed=0", "-m", "not real and not nix and not slow"]
pytest_add_cli_args_test_selection = [{tests}]
timeout_constant = 2.0
timeout_multiplier = 5.0
use_setproctitle = false
use_git_change_detection = false
"""


@contextlib.contextmanager
def copy_of(repository: Path, room: Room) -> Iterator[Path]:
    """Copy the repository, set up for one room; take the copy and all it started away afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutation-", ignore_cleanup_errors=True) as name:
        place = Path(name).resolve()
        copy = place / "repository"
        shutil.copytree(repository, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "mutants"))
        also = ", ".join(f'"{path.name}"' for path in sorted(copy.iterdir()) if path.name != "src")
        tests, bare = (", ".join(f'"{path}"' for path in paths) for paths in (room.tests, BARE))
        with (copy / "pyproject.toml").open("a", encoding="utf-8") as settings:
            settings.write(SETTINGS.format(sources=room.sources, bare=bare, also=also, tests=tests))
        # A folder that is missing when an interpreter starts is never looked into.
        (copy / "mutants" / "src").mkdir(parents=True)
        try:
            yield copy
        finally:
            sweep(copy, older_than_s=0)


def environment(copy: Path, library: Path) -> dict[str, str]:
    """The user's, with a home, a temporary folder and the changed code in the copy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONCIERGE_", "XDG_", "PYTEST"))}
    for folder in ("home", "tmp"):
        (copy.parent / folder).mkdir(exist_ok=True)
    return kept | {
        "HOME": str(copy.parent / "home"),
        "TMPDIR": str(copy.parent / "tmp"),
        "PYTHONPATH": os.pathsep.join((str(copy / "mutants" / "src"), str(copy), str(library))),
        MARK: str(copy),
    }


def run_inside(copy: Path, words: list[str], environ: dict[str, str]) -> int:
    """Run the part that changes code, gently, and sweep while it runs."""
    log = (copy.parent / "log").open("wb")
    words = [sys.executable, "-m", "tools.mutation.inside", *words]
    with log, subprocess.Popen(words, cwd=copy, env=environ, stdout=log, stderr=log) as child:
        try:
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(10)
                sweep(copy, older_than_s=LEFT_BEHIND_S)
        finally:
            child.kill()
        return child.returncode


def sweep(copy: Path, *, older_than_s: float) -> None:
    """End what a changed program started and did not end: with an age, only orphans of that age."""
    before = time.time() - older_than_s
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            marked = process.environ().get(MARK) == str(copy)
            if marked and process.create_time() <= before and (not older_than_s or process.ppid() == 1):
                process.kill()
