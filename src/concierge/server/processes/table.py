"""Which process is meant, whether it still lives, and the only place that signals one."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

    from concierge.server.processes.identity import Identity, Listener, Usage

if sys.platform == "linux":
    from concierge.server.processes import procfs as _os
else:
    from concierge.server.processes import ps as _os


def identify(pid: int) -> Identity | None:
    """Return who ``pid`` is now, or None when it is nobody or a zombie."""
    return _os.identify(pid)


def myself() -> Identity:
    """Return this process."""
    me = _os.identify(os.getpid())
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
    return _os.members(launch, leader.pid if leader and alive(leader) else None)


def leader(launch: str, recorded: Identity | None) -> Identity | None:
    """Return the living leader of a launch, also when it has replaced its program or was never recorded."""
    if recorded is not None and alive(recorded):
        return recorded
    marked = _os.members(launch, None)
    if recorded is not None:
        return next((identity for identity in marked if identity.same_process(recorded)), None)
    return next((identity for identity in marked if _os.leads_session(identity.pid)), None)


def listening(identities: Iterable[Identity]) -> list[Listener]:
    """Return the sockets that these processes listen on."""
    return _os.listening([identity.pid for identity in identities])


def sole_listener(port: int, identities: Iterable[Identity]) -> bool:
    """Return whether every listener on ``port`` belongs to these processes, and there is one."""
    return _os.sole_listener(port, [identity.pid for identity in identities])


def usage(identities: Iterable[Identity]) -> Usage:
    """Return what these processes have consumed so far."""
    return _os.usage([identity.pid for identity in identities])


def age_s(identity: Identity) -> float:
    """Return for how many seconds the process has run."""
    return _os.age_s(identity)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal that very process and return whether it was there."""
    return _os.send(identity, number)


def gone(identities: Iterable[Identity], *, within_s: float) -> bool:
    """Wait until none of these processes runs, and return whether that happened in time."""
    awaited = list(identities)
    return wait_until(lambda: not any(_os.remains(identity) for identity in awaited), within_s=within_s)


def wait_until(holds: Callable[[], bool], *, within_s: float) -> bool:
    """Look until ``holds``, and return whether it did in time."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
