"""concierge itself, through its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.agent.driver import Bounds, Ran

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USAGE = 2
"""The exit code for a command that cannot be right: no other task would fare better."""
GRACE_S = 15.0
"""For the command's own start and end; ``--max-seconds`` bounds what lies between."""


class MisusedError(Exception):
    """The command does not take what the bench asks of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concierge:
    """Runs ``concierge run --in FOLDER --json`` against the server that is up.

    Attributes:
        place: An empty folder to run in, so that no project's configuration holds; the runs' records go there.
        settings: Variables that name the model.
        protocol: How tools are offered to the model; what concierge itself chooses when None.
        command: What starts concierge.
    """

    place: Path
    bounds: Bounds = field(default_factory=Bounds)
    settings: Mapping[str, str] = field(default_factory=dict)
    protocol: str | None = None
    command: tuple[str, ...] = (sys.executable, "-m", "concierge")

    def run(self, request: str, folder: Path) -> Ran:
        """Run one command.

        Raises:
            MisusedError: It was refused before it began.
        """
        words = ["run", "--in", str(folder), "--json", "--temperature", "0", "--workspace", str(self.place / "runs")]
        limits = ["--max-steps", str(self.bounds.steps), "--max-seconds", str(self.bounds.seconds)]
        chosen = {} if self.protocol is None else {"CONCIERGE_LLM_PROTOCOL": self.protocol}
        began = time.monotonic()
        try:
            ended = subprocess.run(
                [*self.command, *words, *limits, request],
                cwd=self.place,
                env={**os.environ, **self.settings, **chosen},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.bounds.seconds + GRACE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ran(seconds=time.monotonic() - began, error="the command did not end in time")
        if ended.returncode == USAGE:
            raise MisusedError((ended.stderr + ended.stdout).strip())
        try:
            return _ran(json.loads(ended.stdout if ended.returncode > 1 else ended.stdout.splitlines()[-1]))
        except (ValueError, IndexError):
            last = (ended.stderr.strip() or "nothing said").splitlines()[-1]
            return Ran(seconds=time.monotonic() - began, error=f"exit code {ended.returncode}: {last}")


def _ran(said: Mapping[str, Any]) -> Ran:
    usage, error = said.get("usage") or {}, said.get("error")
    what = error.get("what") if isinstance(error, dict) else said.get("what", error)
    return Ran(
        answer=said.get("text", ""),
        steps=said.get("steps", 0),
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        seconds=said.get("seconds", 0.0),
        error=str(what or ""),
    )
