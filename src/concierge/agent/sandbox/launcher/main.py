"""The process between concierge and a command. Run by an isolated interpreter, it imports nothing but its own folder.

It reads an ``Order`` from its standard input, which stays open as long as somebody waits for the command. What the
command prints goes to its standard output, and how it ended, as JSON, to its standard error.
"""

from __future__ import annotations

import os
import sys

from concierge.agent.sandbox.launcher import watch
from concierge.agent.sandbox.launcher.order import read

_CHUNK = 1 << 16


def main() -> None:
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(watch.LIFELINE, _CHUNK)
        if not chunk:
            sys.exit(1)
        line += chunk
    order = read(line)
    # What the command prints must not be taken for a report.
    told = os.dup(2)
    try:
        if order.layer == "namespaces":
            from concierge.agent.sandbox.launcher import namespaces as layer
        elif order.layer == "bubblewrap":
            from concierge.agent.sandbox.launcher import bubblewrap as layer  # type: ignore[no-redef]
        else:
            from concierge.agent.sandbox.launcher import seatbelt as layer  # type: ignore[no-redef]
        layer.carry_out(order, told)
    except OSError as error:
        watch.report(told, failed=str(error))
        sys.exit(1)
