"""What serves the model now. Reading it changes nothing and takes no lock."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from concierge.net import near
from concierge.server.look import look
from concierge.server.processes import table
from concierge.server.record import RecordFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.config.keys import Llm
    from concierge.paths import Home
    from concierge.server.look import Presence
    from concierge.server.record import Record

Ownership = Literal["absent", "starting", "ready", "stopping", "dead", "elsewhere"]
"""``dead``: the record's process is gone; ``elsewhere``: it belongs to another container."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The server at ``base_url``; ``presence`` is None when it is on another machine, which is not asked."""

    base_url: str
    presence: Presence | None
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Whose server runs, and apart from that, whether it answers.

    Attributes:
        state: What the record says, checked against the processes that run.
        answers: Whether it answers as healthy; None when nothing runs that could.
        configured: The server at ``base_url``, when the configuration was given.
    """

    state: Ownership
    answers: bool | None = None
    model: str | None = None
    base_url: str | None = None
    context: int | None = None
    pid: int | None = None
    uptime_s: float | None = None
    log: str | None = None
    configured: Configured | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the status as the object that ``--json`` prints."""
        return asdict(self)


def status(home: Home, llm: Llm | None = None, *, environ: Mapping[str, str] = os.environ) -> ServerStatus:
    """Return what serves the model now."""
    record = RecordFile(home).read()
    beside = None if llm is None else _configured(llm, environ)
    return ServerStatus("absent", configured=beside) if record is None else _ours(record, beside)


def _ours(record: Record, beside: Configured | None) -> ServerStatus:
    elsewhere = not table.from_here(record.starter)
    leader = None if elsewhere else table.leader(record.launch, record.identity)
    if leader is None:
        state: Ownership = "elsewhere" if elsewhere else "dead"
        return ServerStatus(state, model=record.model, log=record.log, configured=beside)
    return ServerStatus(
        "starting" if record.state == "intent" else record.state,
        answers=_answers(record),
        model=record.model,
        base_url=record.base_url,
        context=record.context,
        pid=leader.pid,
        uptime_s=round(table.age_s(leader), 1),
        log=record.log,
        configured=beside,
    )


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
    sight = look(named)
    return Configured(named.base_url, sight.presence, sight.models)
