"""How a peer's process talks with the bench: a request per line in, what happens per line out.

The peers print as they please, so they get standard error, and the lines have a stream of their own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_TOKENS = 1024
"""What one answer may have: a small model that repeats itself would write until the context is full."""


class Told:
    """Counts what the model does and tells the bench at once: a peer that is cut off has counted too."""

    def __init__(self, line: Callable[[dict[str, object]], None]) -> None:
        self._line = line

    def answered(self, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Say that the model gave one answer."""
        self._line({"event": "answered", "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens})


def serve(run: Callable[[str, Path, Told], tuple[str, str]]) -> None:
    """Carry out requests until there are no more; ``run`` returns the answer and why there is none."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def line(said: dict[str, object]) -> None:
        stream.write(f"{json.dumps(said)}\n")
        stream.flush()

    line({"event": "ready"})
    for asked in sys.stdin:
        job = json.loads(asked)
        os.chdir(job["folder"])
        try:
            answer, error = run(job["request"], Path(job["folder"]), Told(line))
        except Exception as fault:  # noqa: BLE001  # whatever a peer dies of is its result
            answer, error = "", f"{type(fault).__name__}: {fault}"
        os.chdir("/")
        line({"event": "ended", "answer": answer, "error": error})
