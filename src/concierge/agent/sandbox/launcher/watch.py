"""Stay beside a command: end it when its starter is gone or it takes more than its share, and say how it ended."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from concierge.agent.sandbox.launcher.order import Order

LIFELINE = 0
"""The starter holds the other end, and whatever ends the starter closes it."""
OUTPUT = 1

LOOK_S = 0.05
"""A machine writes some hundred MiB of memory in this time: so far a command can pass its share."""

_FILES = 1024
_LOCKED_BYTES = 1 << 16


def limit(order: Order) -> None:
    """Bound this process and each that it starts; what is not per process, ``Shares`` watches."""
    for bound, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, order.file_bytes),
        (resource.RLIMIT_DATA, order.memory_bytes),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_MEMLOCK, _LOCKED_BYTES),
    ):
        lower(0, bound, most)


def lower_processes(process: int, order: Order) -> None:
    """Bound what its user may run in its namespace, process 0 being this one; for root no such bound holds."""
    # The first process of the namespace is ours.
    lower(process, resource.RLIMIT_NPROC, order.processes + 1)


def lower(process: int, bound: int, most: int) -> None:
    """Set a bound of a process, 0 being this one, never above what it was allowed before."""
    _, hard = resource.prlimit(process, bound) if process else resource.getrlimit(bound)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if process:
        resource.prlimit(process, bound, (most, most))
    else:
        resource.setrlimit(bound, (most, most))


class Shares:
    """What all processes of a process namespace take together."""

    def __init__(self, first: int, order: Order) -> None:
        self._first = first
        self._namespace = os.readlink(f"/proc/{first}/ns/pid")
        self._order = order

    def over(self) -> str | None:
        """Return the sentence to end the command with, if it takes too much."""
        memory = tasks = 0
        for process in self._members():
            counts = _counts(process)
            memory += counts.get("RssAnon", 0) + counts.get("RssShmem", 0)
            tasks += counts.get("Threads", 0)
            # Of a bomb, the rest is not waited for. The first process is ours.
            if tasks > self._order.processes + 1:
                return f"more than {self._order.processes} processes"
        return (
            f"more than {self._order.memory_bytes} bytes of memory"
            if memory * 1024 > self._order.memory_bytes
            else None
        )

    def _members(self) -> Iterator[int]:
        for name in os.listdir("/proc"):
            if not name.isdecimal() or int(name) == self._first:
                continue
            try:
                if os.readlink(f"/proc/{name}/ns/pid") == self._namespace:
                    yield int(name)
            except OSError:
                continue


def _counts(process: int) -> dict[str, int]:
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {line[0][:-1]: int(line[1]) for line in lines if line[0] in ("RssAnon:", "RssShmem:", "Threads:")}


def until_end(process: int, over: Callable[[], str | None], kill: Callable[[], None]) -> int:
    """Return the wait status of a child that has ended, by itself or by ``kill``."""
    ends = select.poll()
    ends.register(LIFELINE, select.POLLIN | select.POLLHUP)
    handle = os.pidfd_open(process) if hasattr(os, "pidfd_open") else None
    if handle is not None:
        ends.register(handle, select.POLLIN)
    while True:
        ready = [number for number, _ in ends.poll(LOOK_S * 1000)]
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        sentence = over() if LIFELINE not in ready else ""
        if sentence is not None:
            kill()
            status = os.waitpid(process, 0)[1]
            _say(sentence)
            return status


def code(status: int) -> int:
    """Return a wait status as a shell tells it: 128 and the signal's number for what a signal ended."""
    value = os.waitstatus_to_exitcode(status)
    return value if value >= 0 else 128 - value


def report(handle: int, **said: object) -> None:
    os.write(handle, json.dumps(said).encode())


def kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _say(sentence: str) -> None:
    if not sentence:
        return
    os.set_blocking(OUTPUT, False)
    try:
        os.write(OUTPUT, f"\nKilled: {sentence}.\n".encode())
    except OSError:
        return
