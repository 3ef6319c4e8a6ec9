"""What a model is told of the folder before it begins: its files, and the text of those that the task is about.

A small model that must look first often does not, and one that has seen a file need not ask for it.
"""

from __future__ import annotations

import shlex
from itertools import islice
from typing import TYPE_CHECKING

from concierge.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.agent.workspace import Workspace

LISTED = 30
"""Files that are named."""
SHOWN_CHARS = 4_000
"""Text of the files that the task names, in all."""
SMALL_CHARS = 1_500
"""A folder that holds no more text than this is shown whole."""
LOOKED_AT = 64_000
"""Bytes of a file that may be shown: a larger one is read piece by piece."""


def overview(workspace: Workspace, task: str) -> str:
    """Return it; nothing for an empty folder."""
    entries, _ = workspace.entries(".")
    folders = [f"{entry.name}/" for entry in entries if entry.kind == "folder"]
    files = list(islice(workspace.files(), LISTED + 1))
    names = [*(_sized(workspace, file) for file in files), *folders]
    if not names:
        return ""
    more = " and more" if len(names) > LISTED else ""
    listed = f"The folder holds: {', '.join(names[:LISTED])}{more}."
    if any(" " in name for name in [*files, *folders][:LISTED]):
        listed += " In commands, names with spaces need quotes."
    return "\n\n".join([listed, *_shown(workspace, files, task)])


def _shown(workspace: Workspace, files: list[str], task: str) -> Iterator[str]:
    texts = {file: text for file in files if (text := text_of(workspace, file))}
    if sum(len(text) for text in texts.values()) > SMALL_CHARS or len(files) > LISTED:
        texts = {file: text for file, text in texts.items() if _named(file, task)}
    room = SHOWN_CHARS
    for file, text in texts.items():
        room -= len(text)
        if room < 0:
            return
        fence = _fence(text)
        yield f"{file}:\n{fence}\n{text.rstrip()}\n{fence}"


def text_of(workspace: Workspace, file: str) -> str:
    """Return a file's text; nothing for what is no text, or too long."""
    try:
        content = workspace.read(file)
    except ToolError:
        return ""
    if len(content) > LOOKED_AT or b"\0" in content:
        return ""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return ""


def _named(file: str, task: str) -> bool:
    return file in task or file.rpartition("/")[2] in task


def _sized(workspace: Workspace, file: str) -> str:
    """Return a name as a command would say it, with quotes where it has blanks, and the file's size."""
    name = shlex.quote(file) if " " in file or not file.isprintable() else file
    try:
        return f"{name} ({workspace.size(file)} bytes)"
    except ToolError:  # it went meanwhile, or its name is no text
        return name


def _fence(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
