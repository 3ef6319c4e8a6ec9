"""The room that bubblewrap builds, with our limits and our filter of system calls."""

from __future__ import annotations

import json
import os
import select
import signal
from typing import TYPE_CHECKING

from concierge.agent.sandbox.launcher import seccomp, watch

if TYPE_CHECKING:
    from concierge.agent.sandbox.launcher.order import Order

_END_MS = 2000
_CHUNK = 4096


def carry_out(order: Order, told: int) -> None:
    """Run the command to its end, and tell how it ended."""
    filters, status, hold = os.pipe(), os.pipe(), os.pipe()
    # A shared network brings the machine's abstract sockets along, which no mount hides.
    _fill(filters[1], seccomp.program(unix_sockets=not order.network))
    outer = os.fork()
    if outer == 0:
        _become(order, filters[0], status[1], hold[0])
    for handle in (filters[0], status[1], hold[0]):
        os.close(handle)
    first = _first(status[0])
    if first is None:
        os.waitpid(outer, 0)
        watch.report(told, failed="bubblewrap could not confine it")
        return
    namespace = os.pidfd_open(first)
    watch.lower_processes(first, order)
    shares = watch.Shares(first, order)
    os.write(hold[1], b"!")

    def kill() -> None:
        _kill(namespace)
        watch.kill(outer)

    ended = watch.until_end(outer, shares.over, kill)
    # It goes when its command does; the rest of the namespace may take a moment longer.
    _kill(namespace)
    gone = select.poll()
    gone.register(namespace, select.POLLIN)
    gone.poll(_END_MS)
    watch.report(told, exit=watch.code(ended))


def arguments(order: Order, filters: int, status: int, hold: int) -> list[str]:
    """Return bubblewrap's arguments, with the handles of the filter, of what it tells and of what it waits for."""
    memory = str(order.memory_bytes)
    words = [
        *order.helper,
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"),
        *(() if order.network else ("--unshare-net",)),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"),
        *(word for path in order.readable for word in ("--ro-bind", path, path)),
        *(word for path, leads in order.links.items() for word in ("--symlink", leads, path)),
        *(word for path in order.hidden for word in _over(path)),
        *("--proc", "/proc"),
        *(word for path in order.silenced for word in _over(path)),
        *("--remount-ro", "/proc", "--dev", "/dev", "--size", memory, "--perms", "1777", "--tmpfs", "/dev/shm"),  # noqa: S108  # its own
        *("--remount-ro", "/dev", "--size", memory, "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108  # its own
        *("--bind", order.folder, order.folder),
        *(word for path in order.guards for word in ("--bind", path, path)),
        *(word for path in order.covered for word in _over(path)),
        *("--remount-ro", "/", "--chdir", order.folder),
        *("--seccomp", str(filters), "--json-status-fd", str(status), "--block-fd", str(hold), "--"),
    ]
    return [*words, *order.words]


def _over(path: str) -> tuple[str, ...]:
    if os.path.isdir(path):
        return ("--perms", "0000", "--tmpfs", path, "--remount-ro", path)
    # bubblewrap binds without devices, so nobody can open this one.
    return ("--ro-bind", "/dev/null", path)


def _become(order: Order, filters: int, status: int, hold: int) -> None:
    """Be bubblewrap. It does not return."""
    try:
        for handle in (filters, status, hold):
            os.set_inheritable(handle, True)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(watch.OUTPUT, 2)
        watch.limit(order)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(order.helper[0], arguments(order, filters, status, hold), order.environ)
    finally:
        os._exit(1)


def _fill(handle: int, content: bytes) -> None:
    """Write all into a pipe, which has room for it, and close it."""
    os.write(handle, content)
    os.close(handle)


def _first(status: int) -> int | None:
    """Return the first process of the namespace, if there came to be one."""
    said = b""
    while b"\n" not in said:
        chunk = os.read(status, _CHUNK)
        if not chunk:
            return None
        said += chunk
    number = json.loads(said.partition(b"\n")[0]).get("child-pid")
    return number if isinstance(number, int) else None


def _kill(namespace: int) -> None:
    try:
        signal.pidfd_send_signal(namespace, signal.SIGKILL)
    except ProcessLookupError:
        return
