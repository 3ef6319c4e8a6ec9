"""The filter of system calls: what a shell never needs and an escape does.

The program is a list of instructions for the kernel's small machine, eight bytes each. A call that is refused answers
with an error, as an older or a stricter kernel would; a call of another architecture ends the process.
"""

from __future__ import annotations

import ctypes
import errno
import struct

from concierge.agent.sandbox.launcher import kernel

REFUSED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "lsm_set_self_attr": (460, 460),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
"""Calls that answer EPERM, with their numbers on x86_64 and on newer architectures."""

ABSENT = {
    # Their arguments lie in memory, where a filter cannot look; every caller knows how to do without.
    "clone3": (435, 435),
    "openat2": (437, 437),
    # Memory that belongs to no process and to no file system of a known size.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "msgget": (68, 186),
    "shmget": (29, 194),
}
"""Calls that answer ENOSYS."""

NEWEST = 466
"""Nobody has looked at the calls after this one."""

_SOCKETS = {"socket": (41, 198), "socketpair": (53, 199)}
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10

_CLONE = (56, 220)
_NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWCGROUP
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
)

_IOCTL = (16, 29)
# TIOCSTI types into the terminal, TIOCLINUX pastes into it, TIOCCONS takes the console's messages.
_TERMINAL = (0x5412, 0x541C, 0x541D)

_PERSONALITY = (135, 92)
# Linux itself, the same without random addresses (debuggers), and the question which it is.
_PERSONALITIES = (0, 0x0004_0000, 0xFFFF_FFFF)

_MODES = {
    "chmod": ((90, None), 1),
    "fchmod": ((91, 52), 1),
    "fchmodat": ((268, 53), 2),
    "fchmodat2": ((452, 452), 2),
    "creat": ((85, None), 1),
    "open": ((2, None), 2),
    "openat": ((257, 56), 3),
    "mknod": ((133, None), 1),
    "mknodat": ((259, 33), 2),
}
"""Calls that can make a file run as its owner, and which argument says so."""
_SET_ID = 0o6000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_X32 = 0x4000_0000

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

_Numbers = tuple[int, int | None]


def program(*, unix_sockets: bool) -> bytes:
    """Return the filter for this machine, as the kernel and bubblewrap read it.

    Raises:
        OSError: The numbers of this architecture are not known.
    """
    if kernel.ARCHITECTURE not in kernel.ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for {kernel.ARCHITECTURE}")
    families = [AF_UNIX] * unix_sockets + [AF_INET, AF_INET6]
    return b"".join(
        [
            _do(_LOAD, _ARCHITECTURE_AT),
            _do(_EQUAL, kernel.ARCHITECTURES[kernel.ARCHITECTURE], yes=1),
            _do(_ANSWER, _KILL),
            _do(_LOAD, _NUMBER_AT),
            _do(_AT_LEAST, NEWEST + 1, no=1),
            _do(_ANSWER, _ERRNO | errno.ENOSYS),
            *(_refuse(numbers, errno.EPERM) for numbers in REFUSED.values()),
            *(_refuse(numbers, errno.ENOSYS) for numbers in ABSENT.values()),
            _only(_SOCKETS["socket"], 0, families, errno.EAFNOSUPPORT),
            _only(_SOCKETS["socketpair"], 0, [AF_UNIX], errno.EAFNOSUPPORT),
            _only(_PERSONALITY, 0, list(_PERSONALITIES), errno.EPERM),
            _none_of(_IOCTL, 1, [_do(_EQUAL, word, no=1) for word in _TERMINAL]),
            _none_of(_CLONE, 0, [_do(_ANY_BIT, _NAMESPACES, no=1)]),
            *(_none_of(numbers, at, [_do(_ANY_BIT, _SET_ID, no=1)]) for numbers, at in _MODES.values()),
            _do(_ANSWER, _ALLOW),
        ]
    )


def install(filters: bytes) -> None:
    """Hold this process and all that it starts to the filter, for good."""
    code = ctypes.create_string_buffer(filters, len(filters))
    described = struct.pack("@HP", len(filters) // 8, ctypes.addressof(code))
    done = kernel.LIBC.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), described, 0, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), "seccomp is refused")


def _do(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Return one instruction; a comparison skips so many further ones."""
    return struct.pack("=HBBI", code, yes, no, value)


def _number(numbers: _Numbers) -> int | None:
    return numbers[kernel.ARCHITECTURE != "x86_64"]


def _refuse(numbers: _Numbers, error: int) -> bytes:
    number = _number(numbers)
    if number is None:
        return b""
    return _do(_EQUAL, number, no=1) + _do(_ANSWER, _ERRNO | error)


def _within(numbers: _Numbers, at: int, body: bytes) -> bytes:
    """Return instructions for one call, which look at the low half of an argument and end with the number loaded."""
    number = _number(numbers)
    if number is None:
        return b""
    body = _do(_LOAD, _ARGUMENTS_AT + 8 * at) + body + _do(_LOAD, _NUMBER_AT)
    return _do(_EQUAL, number, no=len(body) // 8) + body


def _only(numbers: _Numbers, at: int, values: list[int], error: int) -> bytes:
    left = range(len(values), 0, -1)
    tests = [_do(_EQUAL, value, yes=skipped) for value, skipped in zip(values, left, strict=True)]
    return _within(numbers, at, b"".join(tests) + _do(_ANSWER, _ERRNO | error))


def _none_of(numbers: _Numbers, at: int, tests: list[bytes]) -> bytes:
    refusal = _do(_ANSWER, _ERRNO | errno.EPERM)
    return _within(numbers, at, b"".join(test + refusal for test in tests))
