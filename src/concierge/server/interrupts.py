"""Ctrl-C by somebody impatient: the first signal interrupts, and what it interrupted cleans up undisturbed."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def once(*, spent: bool = False) -> Iterator[None]:
    """Let one signal at most interrupt what is inside, cleaning up included, which must be bounded for that.

    ``spent`` says that there was one already: what is inside is the cleaning up.
    """
    if threading.current_thread() is not threading.main_thread():  # it gets no signals
        yield
        return
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    interrupted = spent

    def hear(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            return
        interrupted = True
        before[number](number, frame)
        interrupted = False

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
