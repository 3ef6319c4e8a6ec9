"""Which process is meant, whether it still lives, and the only place that signals one."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Sequence

    from concierge.server.processes.identity import Identity, Marked

if sys.platform == "linux":
    from concierge.server.processes import procfs as system
else:
    from concierge.server.processes import ps as system

identify = system.identify
machine = system.machine
listening = system.listening
sole_listener = system.sole_listener
usage = system.usage
age_s = system.age_s
Deathwatch = system.Deathwatch


def myself() -> Identity:
    """Return this process."""
    me = identify(os.getpid())
    assert me is not None
    return me


def alive(identity: Identity) -> bool:
    """Return whether that very process still runs."""
    return identify(identity.pid) == identity


def marked() -> list[Marked]:
    """Return the processes of every launch that can be seen from here; one that looks is never its own find."""
    return [found for found in system.marked() if found.identity.pid != os.getpid()]


def members(launch: str, recorded: Identity | None = None, seen: Sequence[Marked] | None = None) -> list[Identity]:
    """Return the processes of a launch: those that carry its mark, and the family of its recorded leader.

    A pid is only trusted while it is proven to be that leader: afterwards the number may be reused. ``seen`` is what
    ``marked`` returned just now, if it was asked.
    """
    found = [process.identity for process in (marked() if seen is None else seen) if process.launch == launch]
    if recorded is not None and alive(recorded):
        found += [identity for identity in (recorded, *system.family(recorded.pid)) if identity not in found]
    return [identity for identity in found if identity.pid != os.getpid()]


def leader(launch: str, recorded: Identity | None) -> Identity | None:
    """Return the process that stands for a launch: the recorded one, what it has become, or the first that is left."""
    if recorded is not None and alive(recorded):
        return recorded
    found = members(launch)
    became = (identity for identity in found if recorded is not None and identity.same_process(recorded))
    return next(became, None) or min(found, key=lambda identity: identity.start, default=None)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal that very process; never what ``kill`` would read as a group or as everybody, init, or this one."""
    return identity.pid > 1 and identity.pid != os.getpid() and system.send(identity, number)


def gone(identities: Collection[Identity], *, within_s: float) -> bool:
    """Wait until none of these processes runs, and return whether that happened in time."""
    return wait_until(lambda: not any(map(system.remains, identities)), within_s=within_s)


def wait_until(holds: Callable[[], bool], *, within_s: float) -> bool:
    """Look until ``holds``, and return whether it did in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
