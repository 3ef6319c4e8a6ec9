"""The files that a task names."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_QUOTED = re.compile(r"[\"'`“«]([^\"'`”»\n]+\.[A-Za-z]\w{0,5})[\"'`”»]")
_PLAIN = re.compile(r"(?<![\w/:.])(?:(?:[\w.-]+/)+[\w.-]+|[\w-][\w.-]+)\.[A-Za-z]\w{0,5}(?![\w/])")


def named_files(task: str) -> tuple[str, ...]:
    """Return what looks like the name of a file in a task, each once; a name with blanks stands in quotes."""
    quoted = _QUOTED.findall(task)
    plain = _PLAIN.findall(_QUOTED.sub(" ", task))
    return tuple(dict.fromkeys([*quoted, *plain]))


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
