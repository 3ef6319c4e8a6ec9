"""Waiting for what happens in other processes and threads: no test measures time, and none waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_S = 60.0
"""Far more than anything awaited here takes, on a machine that does ten other things."""


def until(holds: Callable[[], object]) -> None:
    """Look until ``holds``."""
    never = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if holds():
            return
        never.wait(0.01)
    raise AssertionError(f"it did not happen within {PATIENCE_S:g} s")


def gone(process: psutil.Process) -> bool:
    """Return whether it ended, waited for by its parent or not."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def in_time(call: Callable[[], T]) -> T:
    """Return what ``call`` returns or raise what it raises, and fail where it would wait for its own, longer limit."""
    outcome: Future[T] = Future()

    def attempt() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001  # the test's own thread raises it again
            outcome.set_exception(error)

    threading.Thread(target=attempt, daemon=True).start()
    return outcome.result(PATIENCE_S)
