"""System memory, and the limits that a container or a service manager puts on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.machine.read import apple
from concierge.machine.read.parse import amount, fields, found, integer
from concierge.machine.types import Amount, MemoryFacts
from concierge.units import KIB

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle

_V1_NO_LIMIT = 1 << 60
"""cgroup v1 says "no limit" as the largest page-aligned number."""

_RECLAIMABLE = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
_CGROUPS = (
    ("0::", "/sys/fs/cgroup", "memory.max", "memory.current", "memory.stat"),
    ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
)
"""Version 2 and version 1: what marks the group's line, where groups are, and their files."""

_CACHE = ("total_inactive_file", "total_active_file"), ("inactive_file", "active_file")
"""The page cache in ``memory.stat``: it counts as used, and is given up when it is wanted. Version 1 has sums."""


def facts(bundle: Bundle) -> MemoryFacts:
    """Return the system's memory and its tightest cgroup limit."""
    return {"darwin": _macos, "windows": _windows}.get(bundle.system, _linux)(bundle)


def _linux(bundle: Bundle) -> MemoryFacts:
    lines = fields(bundle.text("/proc/meminfo"))
    total = _kilobytes(lines.get("MemTotal"), "MemTotal")
    available = _kilobytes(lines.get("MemAvailable"), "MemAvailable")
    groups = _cgroups(bundle)
    limit = min((limit for limit, _ in groups), key=lambda amount: amount.bytes or 0, default=Amount())
    if limit.bytes is None or (total.bytes is not None and limit.bytes >= total.bytes):
        reason = "no cgroup limits it" if limit.bytes is None else "the cgroup's limit is above the total"
        return MemoryFacts(total, available, Amount(reason=reason))
    # The group with the least left need not be the one with the lowest limit.
    left, source = min((max((limit.bytes or 0) - used, 1), limit.source) for limit, used in groups)
    if available.bytes is None or left < available.bytes:
        available = Amount(left, f"{source} less what is used", confidence=limit.confidence)
    return MemoryFacts(total, available, limit)


def _kilobytes(value: str | None, name: str) -> Amount:
    if value is None:
        return Amount(reason=f"/proc/meminfo has no {name}")
    return amount(found(value, r"^(\d+)\s*kB$") or value, f"/proc/meminfo {name}", unit=KIB)


def _cgroups(bundle: Bundle) -> list[tuple[Amount, int]]:
    """Return the limit of this process's group and of those above it, each with what it uses besides the page cache."""
    files = cgroup_files(bundle.text("/proc/self/cgroup"))
    found = [(_limit(bundle, limit), _used(bundle, usage, stat)) for limit, usage, stat in files]
    return [(limit, used) for limit, used in found if limit.bytes is not None]


def _used(bundle: Bundle, usage: str, stat: str) -> int:
    counts = fields(bundle.text(stat), " ")
    sums = ([integer(counts.get(name)) for name in names] for names in _CACHE)
    cache = next((sum(n for n in numbers if n) for numbers in sums if any(numbers)), 0)
    return max((integer(bundle.text(usage)) or 0) - cache, 0)


def _limit(bundle: Bundle, path: str) -> Amount:
    number = integer(bundle.text(path))
    return amount(number, path) if number is not None and number < _V1_NO_LIMIT else Amount()


def cgroup_files(own: str) -> list[tuple[str, str, str]]:
    """Return the files of limit, use and statistics of each group that ``/proc/self/cgroup`` puts a process in."""
    return [
        (f"{root}{group}/{limit}", f"{root}{group}/{usage}", f"{root}{group}/{stat}")
        for mark, root, limit, usage, stat in _CGROUPS
        for group in ("", *own_groups(own, mark))
    ]


def own_groups(text: str, mark: str) -> list[str]:
    """Return the paths of the group that the text names and of those above it; ``mark`` may be a v1 controller."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if line.startswith(mark) or (number != "0" and mark in controllers.split(",")):
            parts = [part for part in path.split("/") if part and part != ".."]
            return ["/" + "/".join(parts[:count]) for count in range(1, min(len(parts), 32) + 1)]
    return []


def _macos(bundle: Bundle) -> MemoryFacts:
    total = amount(apple.sysctl(bundle).get("hw.memsize"), "hw.memsize")
    printed = bundle.printed("vm_stat")
    pages = fields(printed)
    page_size = integer(found(printed, r"page size of (\d+)"))
    counts = [integer(pages.get(name, "").rstrip(".")) for name in _RECLAIMABLE]
    free = sum(count for count in counts if count is not None) if page_size else None
    available = amount(free, "vm_stat", unit=page_size or 1, confidence="low")
    return MemoryFacts(total, available, Amount(reason="macOS has no cgroups"))


def _windows(bundle: Bundle) -> MemoryFacts:
    told = bundle.answer("memory")
    total = amount(told.get("total"), "GlobalMemoryStatusEx")
    available = amount(told.get("available"), "GlobalMemoryStatusEx")
    return MemoryFacts(total, available, Amount(reason="Windows has no cgroups"))
