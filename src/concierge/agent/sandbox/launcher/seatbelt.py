"""The room that macOS's own sandbox-exec makes: rules for files and network, and the command's process group."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from concierge.agent.sandbox.launcher import watch

if TYPE_CHECKING:
    from concierge.agent.sandbox.launcher.order import Order


def carry_out(order: Order, told: int) -> None:
    """Run the command to its end, end its group, and tell how it ended."""
    leader = os.fork()
    if leader == 0:
        _become(order)

    def kill() -> None:
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            watch.kill(leader)

    ended = watch.until_end(leader, lambda: None, kill)
    kill()
    watch.report(told, exit=watch.code(ended))


def _become(order: Order) -> None:
    """Be sandbox-exec. It does not return."""
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(watch.OUTPUT, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        watch.limit(order)
        os.chdir(order.folder)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(order.helper[0], [*order.helper, *order.words], order.environ)
    finally:
        os._exit(1)
