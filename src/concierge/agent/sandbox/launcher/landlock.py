"""Landlock: rights on files that no later mount, link or handle gives back."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

from concierge.agent.sandbox.launcher import kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION = 1
_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1
"""The rights of the first version."""

READ = EXECUTE | READ_FILE | READ_DIR
DEVICES = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | _IOCTL_DEV
_NEVER = _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

_HELD_SINCE = {2: _REFER, 3: TRUNCATE, 5: _IOCTL_DEV}
SCOPES_SINCE = 6


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "net", "scoped")]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """Return the version that the kernel speaks, from 1.

    Raises:
        OSError: It speaks none.
    """
    return kernel.call("landlock_create_ruleset", None, 0, _VERSION)


def restrict(reads: Iterable[str], writes: Iterable[str], devices: str) -> None:
    """Hold this process and all that it starts to reading there and writing here, for good."""
    spoken = version()
    held = _FIRST
    for since, right in _HELD_SINCE.items():
        held |= right if spoken >= since else 0
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if spoken >= SCOPES_SINCE else 0
    # An older kernel refuses what it does not know, unless it is zero.
    wanted = _Ruleset(held, 0, scoped)
    rules = kernel.call("landlock_create_ruleset", ctypes.byref(wanted), ctypes.sizeof(wanted), 0)
    for path in reads:
        _allow(rules, path, READ & held)
    for path in writes:
        _allow(rules, path, held & ~_NEVER)
    _allow(rules, devices, DEVICES & held)
    # The names in the root, which is our own.
    _allow(rules, "/", READ_DIR)
    kernel.call("landlock_restrict_self", rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | _IOCTL_DEV
    beneath = _Beneath(rights, place)
    kernel.call("landlock_add_rule", rules, _BENEATH, ctypes.byref(beneath), 0)
    os.close(place)
