"""The room that we build ourselves: namespaces, an own root, Landlock, a filter of system calls, no privileges."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from concierge.agent.sandbox.launcher import groups, kernel, landlock, mounts, seccomp, watch

if TYPE_CHECKING:
    from concierge.agent.sandbox.launcher.order import Order

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127


def carry_out(order: Order, told: int) -> None:
    """Run the command to its end, and tell how it ended."""
    with groups.group(order) as group:
        _carry_out(order, told, group)


def _carry_out(order: Order, told: int, group: int | None) -> None:
    few = group is None and groups.uncounted()
    ids = os.getuid(), os.getgid()
    with contextlib.suppress(PermissionError):
        os.setgroups([])
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{ids[0]} {ids[0]} 1")
    _write("/proc/self/gid_map", f"{ids[1]} {ids[1]} 1")
    # The kernel forgets this when privileges grow.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    waits, begins = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(begins)
        _first(order, told, waits, group, few=few)
    os.close(waits)
    shares = watch.Shares(first, order)
    os.write(begins, b"!")
    status = watch.until_end(first, shares.over, partial(watch.kill, first))
    watch.report(told, exit=watch.code(status))


def _first(order: Order, told: int, waits: int, group: int | None, *, few: bool) -> None:
    """Be the first process of the namespace: with it, all others end. It does not return."""
    try:
        os.setsid()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if not os.read(waits, 1):
            os._exit(1)
        groups.join(group)
        _build(order, few=few)
        command = os.fork()
        if command == 0:
            _become(order)
        os._exit(_reap(command))
    except OSError as error:
        watch.report(told, failed=str(error))
    finally:
        os._exit(1)


def _build(order: Order, *, few: bool) -> None:
    """Confine this process for good."""
    quiet = os.open("/dev/null", os.O_RDONLY)
    kernel.unshare(
        kernel.CLONE_NEWNS
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
        | (0 if order.network else kernel.CLONE_NEWNET)
    )
    socket.sethostname("sandbox")
    if not order.network:
        _loopback()
    mounts.enter(order, few=few)
    os.chdir(order.folder)
    os.dup2(quiet, 0)
    os.dup2(watch.OUTPUT, 2)
    # Its memory and handles are nobody's business, whoever runs beside it.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    watch.limit(order)
    watch.lower_processes(0, order)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    reads = [path for path in (*order.readable, "/proc") if os.path.lexists(path)]
    landlock.restrict(reads, (order.folder, *mounts.PRIVATE), "/dev")
    unix_sockets = not order.network or landlock.version() >= landlock.SCOPES_SINCE
    seccomp.install(seccomp.program(unix_sockets=unix_sockets))


def _become(order: Order) -> None:
    """Be the command. It does not return."""
    try:
        os.setsid()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(order.words[0], order.words, order.environ)
    except OSError as error:
        os.write(2, f"{order.words[0]}: {error.strerror}\n".encode())
        os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


def _reap(command: int) -> int:
    """Wait for whoever ends until the command has, and return its exit code."""
    while True:
        ended, status = os.wait()
        if ended == command:
            return watch.code(status)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
