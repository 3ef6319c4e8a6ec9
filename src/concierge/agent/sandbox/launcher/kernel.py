"""The calls of the Linux kernel that Python has no name for; each raises ``OSError`` with the call's name."""

from __future__ import annotations

import ctypes
import errno
import os
import platform

LIBC = ctypes.CDLL(None, use_errno=True)

# (x86_64, and the table that newer architectures share)
_OLD_NUMBERS = {"pivot_root": (155, 41), "capset": (126, 91)}
_NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "openat2": 437,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
"""Calls that are newer than this have the same number everywhere."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
"""Machines whose numbers are known, and what the kernel calls them (``AUDIT_ARCH_…``)."""
ARCHITECTURE = platform.machine()

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_PRIVATE = 0x4000, 0x4_0000
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_FROM_FD, _MOVE_TO_FD = 0x4, 0x40
_NO_MAGIC_LINKS, _NO_LINKS = 0x02, 0x04
_CAPABILITY_VERSION = 0x2008_0522
_CAPABILITIES = 64
"""As many as that version has room for; the kernel says which is the last."""


class _How(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]


def call(name: str, *words: object) -> int:
    """Make a call by its number."""
    number = _NUMBERS.get(name) or _OLD_NUMBERS[name][ARCHITECTURE != "x86_64"]
    sent = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    return _checked(LIBC.syscall(ctypes.c_long(number), *sent), name)


def unshare(flags: int) -> None:
    _checked(LIBC.unshare(flags), "unshare")


def mount(kind: str | None, target: str, flags: int, data: str | None = None) -> None:
    sent = [None if word is None else word.encode() for word in (kind, target, data)]
    _checked(LIBC.mount(sent[0], sent[1], sent[0], ctypes.c_ulong(flags), sent[2]), f"mount {target}")


def detach(target: str) -> None:
    _checked(LIBC.umount2(target.encode(), MNT_DETACH), "umount")


def prctl(option: int, value: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    _checked(LIBC.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def opened(path: str) -> int:
    """Return a handle of what stands at an absolute path on which there is no link."""
    how = _How(os.O_PATH | os.O_CLOEXEC, 0, _NO_LINKS | _NO_MAGIC_LINKS)
    return call("openat2", _AT_FDCWD, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))


def tree(path: str, attributes: int) -> int:
    """Return a detached copy of the mounts at and below a path, with these attributes all over."""
    source = opened(path)
    try:
        flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH
        copied = call("open_tree", source, b"", flags)
    finally:
        os.close(source)
    _attributes(copied, attributes, _AT_RECURSIVE)
    return copied


def attach(copied: int, target: str) -> None:
    """Put a detached copy at a path on which there is no link."""
    place = opened(target)
    try:
        call("move_mount", copied, b"", place, b"", _MOVE_FROM_FD | _MOVE_TO_FD)
    finally:
        os.close(place)
        os.close(copied)


def seal_mount(target: str, attributes: int) -> None:
    """Give one mount attributes, not those below it."""
    place = opened(target)
    try:
        _attributes(place, attributes, 0)
    finally:
        os.close(place)


def _attributes(place: int, attributes: int, flags: int) -> None:
    wanted = _Attributes(attributes, 0, 0, 0)
    call("mount_setattr", place, b"", flags | _AT_EMPTY_PATH, ctypes.byref(wanted), ctypes.sizeof(wanted))


def pivot(root: str) -> None:
    """Make a mount the root, and let go of the old one."""
    os.chdir(root)
    call("pivot_root", b".", b".")
    detach(".")
    os.chdir("/")


def drop_capabilities() -> None:
    """Give up every capability, and with them what a program of root would get when it is started."""
    for capability in range(_CAPABILITIES):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break
    _ambient_none()
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    call("capset", ctypes.byref(header), ctypes.byref(none))


def _ambient_none() -> None:
    zero = ctypes.c_ulong(0)
    done = LIBC.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), zero, zero, zero)
    _checked(done, "prctl ambient")


def _checked(returned: int, name: str) -> int:
    if returned < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return returned
