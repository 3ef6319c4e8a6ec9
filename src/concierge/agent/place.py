"""Where a run works: the folder that its tools may touch, and the shell that is confined to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.agent.workspace import Workspace

OUTPUT_CHARS = 4_000
"""What a model sees of a command's output: the beginning and the end."""


class Shell(Protocol):
    """A shell that reaches nothing but the folder."""

    async def __call__(self, command: str) -> str:
        """Run a command in the folder and return what the model is to see of it."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a run.

    Attributes:
        folder: The folder itself.
        workspace: Reads and writes in it, and nowhere else.
        shell: Runs commands in it; None where nothing confines them.
    """

    folder: Path
    workspace: Workspace
    shell: Shell | None = None


def shortened(text: str, room: int = OUTPUT_CHARS) -> str:
    """Return a text of at most about ``room`` characters: its beginning, its end, and how much is left out."""
    if len(text) <= room:
        return text
    half = room // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
