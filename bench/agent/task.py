"""What a task is: files, a request in a person's words, and a check that looks at the result alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Kind = Literal["read", "write", "edit", "search", "compute", "code"]

KINDS: tuple[Kind, ...] = ("read", "write", "edit", "search", "compute", "code")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is there when an agent has ended.

    Attributes:
        folder: The task's folder.
        answer: What the agent said at the end.
    """

    folder: Path
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task.

    Attributes:
        name: Unique, and begins with the kind.
        kind: What it is about.
        request: What a person would type.
        check: What the result is judged by.
        reference: A shell script that does it, run in the folder; what it prints is the answer.
        files: What lies in the folder, path to text.
        asks: Whether the answer is all that is asked for, so that the folder may stay as it is.
    """

    name: str
    kind: Kind
    request: str
    check: Callable[[Outcome], str]
    reference: str
    files: Mapping[str, str] = field(default_factory=dict)
    asks: bool = False


def lay(task: Task, folder: Path) -> None:
    """Put the task's files into a folder."""
    for name, text in task.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
