"""Where a run lives: ``<workspace_root>/runs/<run_id>/``."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from concierge.errors import RunError, UnknownRunError

if TYPE_CHECKING:
    from pathlib import Path

RUN_ID = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{6}")
PRIVATE = 0o700
"""A run holds what its user asked and what was answered: nobody else's business on a shared machine."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def workspace(self) -> Path:
        """The only folder that tools may touch."""
        return self.path / "workspace"


def create(workspace_root: Path) -> RunFolder:
    """Make a new run's directory under a name that sorts by time and that nobody else has.

    Raises:
        RunError: The folder cannot be written.
    """
    runs = workspace_root / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(_claim(runs))
        folder.workspace.mkdir(PRIVATE)
    except OSError as error:
        raise RunError(
            f"A run directory cannot be made in {runs}: {error.strerror}.",
            where=str(runs),
            hint="Free some space there, or choose another folder with CONCIERGE_WORKSPACE.",
        ) from None
    return folder


def find(workspace_root: Path, run_id: str) -> RunFolder:
    """Return the directory of a run that exists.

    Raises:
        UnknownRunError: There is none of that name, or the text cannot be a run's name.
    """
    if RUN_ID.fullmatch(run_id):
        folder = RunFolder(workspace_root / "runs" / run_id)
        if folder.path.is_dir():
            return folder
    known = ids(workspace_root)
    close = difflib.get_close_matches(run_id, known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}?" if close else "`concierge runs list` shows every run."
    shown = run_id if len(run_id) <= 80 else run_id[:77] + "..."
    raise UnknownRunError(f"No run has the id {shown!r}.", where=str(workspace_root / "runs"), hint=hint)


def ids(workspace_root: Path) -> list[str]:
    """Return the id of every run, oldest first.

    Raises:
        RunError: The folder is there but cannot be read.
    """
    runs = workspace_root / "runs"
    try:
        with os.scandir(runs) as entries:
            return sorted(
                entry.name for entry in entries if RUN_ID.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"The runs in {runs} cannot be read: {error.strerror}.", where=str(runs)) from None


def _claim(runs: Path) -> Path:
    while True:
        path = runs / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
        try:
            path.mkdir(PRIVATE)
        except FileExistsError:
            continue
        return path
