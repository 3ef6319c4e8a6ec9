"""Which process is meant, whether it still lives, and the only place that signals one."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from concierge.server.processes.identity import Identity

if sys.platform == "linux":
    from concierge.server.processes import procfs as system
else:
    from concierge.server.processes import ps as system

identify = system.identify
listening = system.listening
sole_listener = system.sole_listener
usage = system.usage
age_s = system.age_s
send = system.send


def myself() -> Identity:
    """Return this process."""
    me = identify(os.getpid())
    assert me is not None
    return me


def from_here(identity: Identity) -> bool:
    """Return whether its pid means something here: not in another container's pid namespace of this boot.

    Those of an earlier boot are simply gone.
    """
    here = myself()
    return identity.boot != here.boot or identity.place == here.place


def alive(identity: Identity) -> bool:
    """Return whether that very process still runs."""
    return identify(identity.pid) == identity


def members(launch: str, leader: Identity | None = None) -> list[Identity]:
    """Return the processes of a launch: those that carry its mark, and the session of its living leader.

    A session id is only trusted while its leader is proven to live: afterwards the number may be reused.
    """
    return system.members(launch, leader.pid if leader and alive(leader) else None)


def leader(launch: str, recorded: Identity | None) -> Identity | None:
    """Return the living leader of a launch, also when it has replaced its program or was never recorded."""
    if recorded is not None and alive(recorded):
        return recorded
    marked = system.members(launch, None)
    if recorded is not None:
        return next((identity for identity in marked if identity.same_process(recorded)), None)
    return next((identity for identity in marked if system.leads_session(identity.pid)), None)


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
