"""The room that bubblewrap builds, with our limits and our filter of system calls."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
from typing import TYPE_CHECKING

from concierge.agent.sandbox.launcher import groups, kernel, seccomp, watch

if TYPE_CHECKING:
    from concierge.agent.sandbox.launcher.order import Order

_END_MS = 2000
_CHUNK = 4096
_READY, _GO = 8, 9
_FIRST = f"exec 3>&2 2>/dev/null; echo >&{_READY}; read -r _ <&{_GO} || exit 1; exec {_READY}>&- {_GO}<&-; "
_FIRST += '"$0" "$@" 2>&3 3>&-; exit $?'
"""The first process is a shell, confined like its command, which waits until bubblewrap's work was looked at.

bubblewrap's own first process would stay outside of the filter.
"""


def carry_out(order: Order, told: int) -> None:
    """Run the command to its end, and tell how it ended."""
    with groups.group(order) as group:
        if group is None and groups.uncounted():
            watch.report(told, failed="root may start any number of processes, and no control group can be made")
        else:
            _carry_out(order, told, group)


def _carry_out(order: Order, told: int, group: int | None) -> None:
    folder = kernel.opened(order.folder)
    filters, status, ready, go = (os.pipe() for _ in range(4))
    # A shared network brings the machine's abstract sockets along, which no mount hides.
    _fill(filters[1], seccomp.program(unix_sockets=not order.network))
    outer = os.fork()
    if outer == 0:
        _become(order, group, filters[0], status[1], ready[1], go[0])
    for handle in (filters[0], status[1], ready[1], go[0]):
        os.close(handle)
    first = _first(status[0])
    fault = "bubblewrap could not confine it" if first is None or not os.read(ready[0], 1) else None
    if first is None or fault:
        os.waitpid(outer, 0)
        watch.report(told, failed=fault)
        return
    namespace = os.pidfd_open(first)
    if _same(folder, f"/proc/{first}/root{order.folder}"):
        watch.lower_processes(first, order)
        shares = watch.Shares(first, order)
        os.write(go[1], b"\n")
        watch.report(told, exit=watch.code(_watched(outer, namespace, shares)))
    else:
        _kill(namespace)
        os.waitpid(outer, 0)
        watch.report(told, failed="another folder was put into its place meanwhile")


def _watched(outer: int, namespace: int, shares: watch.Shares) -> int:
    """Return bubblewrap's wait status once nothing of the namespace is left."""

    def kill() -> None:
        _kill(namespace)
        watch.kill(outer)

    ended = watch.until_end(outer, shares.over, kill)
    _kill(namespace)
    gone = select.poll()
    gone.register(namespace, select.POLLIN)
    gone.poll(_END_MS)
    return ended


def arguments(order: Order, filters: int, status: int) -> list[str]:
    """Return bubblewrap's arguments, with the handles of the filter and of what it tells."""
    memory = str(order.memory_bytes)
    words = [
        *order.helper,
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"),
        *(() if order.network else ("--unshare-net",)),
        *("--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"),
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
        *("--seccomp", str(filters), "--json-status-fd", str(status), "--"),
    ]
    return [*words, order.words[0], "-c", _FIRST, *order.words]


def _over(path: str) -> tuple[str, ...]:
    if os.path.isdir(path):
        return ("--perms", "0000", "--tmpfs", path, "--remount-ro", path)
    # bubblewrap binds without devices, so nobody can open this one.
    return ("--ro-bind", "/dev/null", path)


def _become(order: Order, group: int | None, filters: int, status: int, ready: int, go: int) -> None:
    """Be bubblewrap. It does not return."""
    try:
        groups.join(group)
        # Shells know handles of one digit; the others make room for them.
        filters, status, ready, go = (
            fcntl.fcntl(each, fcntl.F_DUPFD, _GO + 1) for each in (filters, status, ready, go)
        )
        os.dup2(ready, _READY)
        os.dup2(go, _GO)
        for handle in (ready, go):
            os.close(handle)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(watch.OUTPUT, 2)
        watch.limit(order)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(order.helper[0], arguments(order, filters, status), order.environ)
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


def _same(folder: int, path: str) -> bool:
    """Return whether bubblewrap, which follows links, took the folder that was meant."""
    try:
        return os.path.samestat(os.stat(folder), os.stat(path))
    except OSError:
        return False


def _kill(namespace: int) -> None:
    try:
        signal.pidfd_send_signal(namespace, signal.SIGKILL)
    except ProcessLookupError:
        return
