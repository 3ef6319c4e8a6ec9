from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from concierge.server import interrupts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


def test_the_first_signal_interrupts_and_no_other_disturbs_what_cleans_up_after_it() -> None:
    cleaned: list[int] = []

    def work() -> None:
        with interrupts.once():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("nothing was interrupted")
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):  # The suite handles both as Ctrl-C.
                    os.kill(os.getpid(), number)
                    cleaned.append(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned == [signal.SIGINT, signal.SIGTERM]


def test_what_cleans_up_itself_is_not_interrupted_at_all() -> None:
    with interrupts.once(spent=True):
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_inner_one_knows_that_there_was_a_signal() -> None:
    cleaned: list[int] = []

    def work() -> None:
        with interrupts.once():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                with interrupts.once():
                    os.kill(os.getpid(), signal.SIGINT)
                    cleaned.append(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned == [signal.SIGINT]


def test_a_signal_whose_handler_goes_on_is_only_handled() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with interrupts.once():
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] * 3


def test_the_handlers_are_the_old_ones_afterwards_and_another_threads_are_never_touched() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def look() -> None:
        with interrupts.once():
            seen.append(signal.getsignal(signal.SIGINT))

    looking = threading.Thread(target=look)
    looking.start()
    looking.join(10)
    with interrupts.once():
        assert signal.getsignal(signal.SIGINT) is not before
    assert seen == [before]
    assert signal.getsignal(signal.SIGINT) is before
