"""A control group for the commands of root, whose processes the kernel does not count otherwise."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.agent.sandbox.launcher.order import Order

_HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/pids")
"""Of the second version and of the first."""
_OURS = 4
"""Processes that are not the command's: bubblewrap's, a shell, and one that is about to be the command."""
_EMPTY_S = 2.0


def uncounted() -> bool:
    """Return whether this user is the system's root, for whom a bound on processes does not hold."""
    if os.getuid() != 0:
        return False
    with open("/proc/self/uid_map", encoding="ascii") as file:
        # The numbers of an unprivileged container begin elsewhere.
        return file.read().split()[:2] == ["0", "0"]


@contextlib.contextmanager
def group(order: Order) -> Iterator[int | None]:
    """Make a group that holds so many processes, and yield a handle for ``join``; None where none is needed or had."""
    made = _made() if uncounted() else None
    if made is None:
        yield None
        return
    try:
        with open(f"{made}/pids.max", "w", encoding="ascii") as file:
            file.write(str(order.processes + _OURS))
        handle = os.open(f"{made}/cgroup.procs", os.O_WRONLY)
        try:
            yield handle
        finally:
            os.close(handle)
    finally:
        _remove(made)


def join(handle: int | None) -> None:
    """Put this process and all that it starts into a group."""
    if handle is not None:
        os.write(handle, b"0")


def _made() -> str | None:
    for hierarchy in _HIERARCHIES:
        _sweep(hierarchy)
        folder = f"{hierarchy}/concierge-{os.getpid()}-{time.monotonic_ns()}"
        try:
            os.mkdir(folder)
        except OSError:
            continue
        if os.path.exists(f"{folder}/pids.max"):
            return folder
        os.rmdir(folder)
    return None


def _sweep(hierarchy: str) -> None:
    """Remove the groups whose makers were killed; one that somebody is still in stays."""
    for folder in glob.glob(f"{hierarchy}/concierge-*"):
        if not os.path.exists(f"/proc/{folder.rsplit('-', 2)[1]}"):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _remove(folder: str) -> None:
    """Remove a group; the last of its processes may take a moment to leave it."""
    until = time.monotonic() + _EMPTY_S
    while True:
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno == errno.EBUSY and time.monotonic() < until:
                time.sleep(0.005)
                continue
        return
