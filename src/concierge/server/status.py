"""What serves the model now. Reading it changes nothing and takes no lock."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from concierge.net import near
from concierge.server import launches, leases
from concierge.server import record as records
from concierge.server.look import look
from concierge.server.processes import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from concierge.config.keys import Llm
    from concierge.deploy.drift import Drift
    from concierge.paths import Home
    from concierge.server.launches import Launch
    from concierge.server.look import Presence
    from concierge.server.record import Record

Ownership = Literal["absent", "starting", "ready", "stuck", "stopping", "dead", "elsewhere"]
"""``stuck``: it was ready and does not answer; ``dead``: its process is gone without having been stopped;
``elsewhere``: it runs in another container or on another machine."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The server at ``base_url``; ``presence`` is None when it is on another machine, which is not asked."""

    base_url: str
    presence: Presence | None
    models: tuple[str, ...] = ()
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    """A server of ours beside the newest: it was in use when that was started."""

    model: str
    base_url: str | None
    context: int | None
    pid: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Whose server runs, and apart from that, whether it answers.

    Attributes:
        state: What the record says, checked against the processes that run.
        answers: Whether it answers as healthy; None when nothing runs that could.
        users: Who holds a lease of it.
        others: Further servers of ours.
        configured: The server at ``base_url``, when the configuration was given.
        wants: Digests of what our engines that run were started for, the newest first.
        generation: The number of the current generation; None where there is none.
        drift: What is not as that generation says.
        protocol: How the model acts that would be asked now; None where that is not known.
    """

    state: Ownership
    answers: bool | None = None
    model: str | None = None
    base_url: str | None = None
    context: int | None = None
    pid: int | None = None
    uptime_s: float | None = None
    log: str | None = None
    users: tuple[str, ...] = ()
    others: tuple[Other, ...] = ()
    configured: Configured | None = None
    wants: tuple[str, ...] = ()
    generation: int | None = None
    drift: tuple[Drift, ...] = ()
    protocol: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a question would be answered now: by our server, or by the configured one."""
        return self.state == "ready" or (self.configured is not None and self.configured.serves)

    def as_dict(self) -> dict[str, Any]:
        """Return the status as the object that ``--json`` prints."""
        return {name: value for name, value in asdict(self).items() if name != "wants"}


def status(home: Home, llm: Llm | None = None, *, environ: Mapping[str, str] = os.environ) -> ServerStatus:
    """Return what serves the model now; of several servers of ours the newest that was not begun to be stopped."""
    beside = None if llm is None else _configured(llm, environ)
    known = records.recorded(home)
    found = _seen(known) or launches.living(home)
    found.sort(key=lambda launch: (not launch.members, launch.record.state == "stopping"))
    if found:
        seen = _ours(found[0], beside, lost=found[0].record not in known)
        others = tuple(map(_other, (launch for launch in found[1:] if launch.members)))
        wants = tuple(launch.record.wants for launch in found if launch.members and launch.record.kind == "engine")
        return replace(seen, users=tuple(leases.holders(home, found[0].record)), others=others, wants=wants)
    if known:
        return ServerStatus("dead", model=known[0].model, log=known[0].log, configured=beside)
    return ServerStatus("absent", configured=beside)


def _seen(known: Iterable[Record]) -> list[Launch]:
    """Return the launches whose recorded process lives: nearly always there is one, and nothing else is looked at."""
    alive = (record for record in known if record.identity is not None and table.alive(record.identity))
    return [launches.Launch(record, (record.identity,)) for record in alive if record.identity is not None]


def _other(launch: Launch) -> Other:
    record = launch.record
    return Other(record.model, record.base_url, record.context, launch.leader.pid)


def _ours(launch: Launch, beside: Configured | None, *, lost: bool = False) -> ServerStatus:
    record = launch.record
    if not launch.members:
        return ServerStatus("elsewhere", model=record.model, log=record.log, configured=beside)
    answers = _answers(record)
    if lost and answers:  # What it was born with says that it starts: nobody could write down that it is ready.
        record = replace(record, state="ready")
    return ServerStatus(
        _state(record, serves=lost or launch.serves, answers=answers),
        answers=answers,
        model=record.model,
        base_url=record.base_url,
        context=record.context,
        pid=launch.leader.pid,
        uptime_s=round(table.age_s(launch.leader), 1),
        log=record.log,
        configured=beside,
    )


def _state(record: Record, *, serves: bool, answers: bool) -> Ownership:
    if record.state == "ready":
        return ("ready" if answers else "stuck") if serves else "dead"
    return "starting" if record.state == "intent" else record.state


def _answers(record: Record) -> bool:
    server = record.endpoint
    if server is None:
        return False
    asked, page = (server.root, "/health") if record.kind == "engine" else (server, "/models")
    answer = near.ask(asked, page, timeout=2.0)
    # A server of the user may want a key that is not ours to know here; it answers all the same.
    return not isinstance(answer, str) and answer.status in (200, 401, 403)


def _configured(llm: Llm, environ: Mapping[str, str]) -> Configured:
    named = llm.endpoint(model=llm.model, environ=environ)
    if not named.address.loopback:
        return Configured(named.base_url, None)
    sight = look(named, gentle=True)
    return Configured(named.base_url, sight.presence, sight.models, serves=sight.serves or sight.presence == "unasked")
