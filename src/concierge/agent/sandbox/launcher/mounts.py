"""The file system that a command sees: built from nothing, of copies taken before the rest goes out of sight."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from concierge.agent.sandbox.launcher import kernel

if TYPE_CHECKING:
    from concierge.agent.sandbox.launcher.order import Order

_ROOT = "/usr"
"""Any folder that is there on every Linux: the new root stands on it until it is the root."""
DEVICES = ("null", "zero", "full", "random", "urandom")
PRIVATE = ("/tmp", "/dev/shm")  # noqa: S108  # the command's own
_STANDARD = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_OWN_NUMBERS_SINCE = (6, 14)
"""Before this release of Linux the highest number was that of the whole machine."""
_RESERVED_NUMBERS = 300
_EMPTY, _NOTHING = "/.empty", "/.nothing"
_LOCKED = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NODEV
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV


def enter(order: Order, *, few: bool) -> None:
    """Make the command's file system the root of this process, which has its own namespaces and their privileges.

    ``few`` says that only the number of process numbers can keep the command from starting too many.
    """
    kernel.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)
    readable = {path: kernel.tree(path, _LOCKED) for path in order.readable}
    folder = kernel.tree(order.folder, kernel.ATTR_NOSUID | kernel.ATTR_NODEV)
    devices = {f"/dev/{name}": kernel.tree(f"/dev/{name}", kernel.ATTR_NOSUID) for name in DEVICES}
    _bare(order)
    for path, copied in (readable | devices).items():
        _attach(copied, path)
    for path in order.hidden:
        _hide(path)
    _processes(order, few=few)
    _attach(folder, order.folder)
    for path in order.guards:
        kernel.attach(kernel.tree(_ROOT + path, 0), _ROOT + path)
    for path in order.covered:
        _hide(path)
    _tidy()
    kernel.seal_mount(_ROOT, _LOCKED)
    kernel.pivot(_ROOT)


def _bare(order: Order) -> None:
    """Make a root of memory, as large as the command's memory, with the folders that everybody may write."""
    os.umask(0o022)
    kernel.mount("tmpfs", _ROOT, _QUIET, f"size={order.memory_bytes},mode=0755")
    for path in PRIVATE:
        os.makedirs(_ROOT + path)
        os.chmod(_ROOT + path, 0o1777)  # noqa: S103  # as every system has it
        kernel.attach(kernel.tree(_ROOT + path, 0), _ROOT + path)
    for path, leads in order.links.items():
        os.symlink(leads, _ROOT + path)
    for name, number in _STANDARD.items():
        os.symlink(f"/proc/self/fd{number}", f"{_ROOT}/dev/{name}")
    os.close(os.open(_ROOT + _EMPTY, os.O_CREAT | os.O_EXCL, 0))


def _attach(copied: int, path: str) -> None:
    """Put a copy at its path, and make the folders above it; what it is, its place must be."""
    inner = _ROOT + path
    kind = os.stat(copied).st_mode & 0o170000
    if kind == 0o040000:
        os.makedirs(inner, exist_ok=True)
    elif not os.path.exists(inner):
        os.makedirs(os.path.dirname(inner), exist_ok=True)
        os.close(os.open(inner, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444))
    kernel.attach(copied, inner)


def _hide(path: str) -> None:
    """Put something empty, which nobody may open, over a folder or a file."""
    inner = _ROOT + path
    nothing = _ROOT + _EMPTY
    if os.path.isdir(inner):
        nothing = _ROOT + _NOTHING
        os.makedirs(nothing, 0, exist_ok=True)
    kernel.attach(kernel.tree(nothing, _LOCKED), inner)


def _tidy() -> None:
    """Take away the names of what hides; it stays where it was put."""
    os.unlink(_ROOT + _EMPTY)
    if os.path.isdir(_ROOT + _NOTHING):
        os.rmdir(_ROOT + _NOTHING)


def _processes(order: Order, *, few: bool) -> None:
    """Show the processes of the own namespace, or none where the system allows no such view."""
    os.makedirs(f"{_ROOT}/proc", exist_ok=True)
    try:
        kernel.mount("proc", f"{_ROOT}/proc", _QUIET | kernel.MS_NOEXEC)
    except PermissionError:
        if few:
            raise
        return
    if few:
        _few_processes(order)
    kernel.seal_mount(f"{_ROOT}/proc", _LOCKED)
    for path in order.silenced:
        if os.path.lexists(_ROOT + path):
            _hide(path)


def _few_processes(order: Order) -> None:
    """Give out few numbers for processes, which binds root as well."""
    release = os.uname().release.split(".")
    if (int(release[0]), int(release[1])) < _OWN_NUMBERS_SINCE:
        raise OSError(errno.ENOSYS, "root may start any number of processes, and no control group can be made")
    with open(f"{_ROOT}/proc/sys/kernel/pid_max", "w", encoding="ascii") as file:
        file.write(str(_RESERVED_NUMBERS + 1 + order.processes))
