"""How fast all cores together read main memory: two seconds of reading, once, for ``concierge tune``."""

from __future__ import annotations

import ctypes
import threading
import time

BLOCK = 96 << 20
"""Bytes that each thread reads over and over: more than any cache holds for it."""

_STEP = 8 << 20
"""Bytes between two looks at the clock."""


def read_gb_s(threads: int, *, seconds: float = 2.0) -> float | None:
    """Return the GB/s (1e9 bytes a second) that so many threads read together; None where it cannot be measured.

    The C library looks for a byte that is not there, with the widest instructions that the processor has.
    """
    try:
        find = ctypes.CDLL(None).memchr
        blocks = [ctypes.create_string_buffer(BLOCK) for _ in range(max(threads, 1))]
    except (AttributeError, OSError, TypeError, MemoryError):
        return None
    find.argtypes, find.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), ctypes.c_void_p
    read = [0] * len(blocks)
    start = threading.Barrier(len(blocks) + 1)

    def work(index: int) -> None:
        at = ctypes.addressof(blocks[index])
        # The first pass has the pages made, and made our own.
        ctypes.memset(at, 1, BLOCK)
        start.wait()
        end = time.monotonic() + seconds
        offset = 0
        while time.monotonic() < end:
            find(at + offset, 0, _STEP)
            read[index] += _STEP
            offset = (offset + _STEP) % BLOCK

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(blocks))]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.monotonic()
    for worker in workers:
        worker.join()
    return sum(read) / (time.monotonic() - began) / 1e9
