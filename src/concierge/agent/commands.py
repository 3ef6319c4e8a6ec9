"""Shell commands as small models write them: what is meant, and what would go wrong."""

from __future__ import annotations

import ast
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_ENDS = {";", "&&", "||", "&", "\n"}
_PATH = re.compile(r"(?<![\w./-])((?:[\w.-]+/)*[\w.-]+)/[\w.-]+")
_SPEAK = {"echo", "printf"}


def quoted(command: str, names: Iterable[str]) -> str:
    """Return a command in which the names with blanks that it leaves bare are quoted: small models forget that.

    They also write them with ``_`` or ``-``; where there is no such name, the one with blanks is meant.
    """
    known = set(names)
    for name in sorted((name for name in known if " " in name), key=len, reverse=True):
        bare = re.compile(rf"(?<![\w/\"'\\-]){'[ _-]'.join(map(re.escape, name.split(' ')))}(?![\w\"'])")
        command = "".join(
            part if number % 2 else bare.sub(lambda match: _meant(match[0], name, known), part)  # noqa: B023
            for number, part in enumerate(re.split(r"(\"[^\"]*\"|'[^']*'|<<.*)", command, flags=re.DOTALL))
        )
    return command


def _meant(written: str, name: str, known: Collection[str]) -> str:
    return written if written != name and written in known else shlex.quote(name)


def emptied(command: str) -> str:
    """Return the file that a command would empty before it reads it, as ``sort a > a`` does; nothing if there is none.

    What cannot be taken apart into words is left to the shell.
    """
    if "<<" in command:
        return ""
    words = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=True)
    words.commenters = ""
    read: set[str] = set()
    written, before, speaks = "", "", False
    try:
        for word in [*words, ";"]:
            if before == ">":
                written = word
            elif word in _ENDS or word == "|":
                speaks = False
            elif before in _ENDS | {"", "|"}:
                speaks = word in _SPEAK
            elif not speaks:
                read.add(word)
            if word in _ENDS:
                if written in read:
                    return written
                read, written = set(), ""
            before = word
    except ValueError:
        return ""
    return ""


def keeping(command: str, files: Collection[str]) -> str:
    """Return the command that puts what it prints into the one file that it reads; nothing if that is not clear."""
    names = [file for file in files if re.search(rf"(?<![\w./-]){re.escape(file)}(?![\w./-])", command)]
    if len(names) != 1 or "\n" in command or ">" in command:
        return ""
    if command.startswith("sed "):
        return f"sed -i {command[4:]}"
    return f"{command} > new && mv new {shlex.quote(names[0])}"


def is_program(text: str) -> bool:
    """Tell whether a text is Python, and no call of a program."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom) for node in tree.body)


def missing_folder(command: str, is_there: Callable[[str], bool]) -> str:
    """Return the first folder that a path in a command leads through and that is not there; nothing if all are."""
    parents = (match[1] for match in _PATH.finditer(command))
    return next((parent for parent in parents if ".." not in parent.split("/") and not is_there(parent)), "")
