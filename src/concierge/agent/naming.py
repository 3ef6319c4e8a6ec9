"""The files that a task names."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"[\"'`“«]([^\"'`”»\n]+\.[A-Za-z]\w{0,5})[\"'`”»]")
_PLAIN = re.compile(r"(?<![\w/:.])(?:(?:[\w.-]+/)+[\w.-]+|[\w-][\w.-]+)\.[A-Za-z]\w{0,5}(?![\w/])")


def named_files(task: str) -> tuple[str, ...]:
    """Return what looks like the name of a file in a task, each once; a name with blanks stands in quotes."""
    quoted = _QUOTED.findall(task)
    plain = _PLAIN.findall(_QUOTED.sub(" ", task))
    return tuple(dict.fromkeys([*quoted, *plain]))
