"""Sizes and versions: as numbers to compare, as words to read."""

from __future__ import annotations

import re

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def human(size: float) -> str:
    """Return a size in bytes the way people read it, in decimal units."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def gib(size: float, *, digits: int = 1) -> str:
    """Return a size in bytes the way memory is sold, in binary units."""
    return f"{size / GIB:.{digits}f} GiB"


def number(version: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version))
