"""What is here, compared with what is asked for: drift, and the plan as a rollback leaves it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.deploy.drift import Drift
    from concierge.deploy.generation import Generation
    from concierge.plan.words import Change, Plan
    from concierge.river.parts import Parts


def planned(parts: Parts) -> Plan:
    """Return the plan, with what has drifted, and with what a rollback holds on to; raises as ``River.plan``."""
    from concierge.river.up import here
    from concierge.server.status import status

    decided = parts.plan(here(parts))
    if parts.bundle is not None or decided.build is None:
        return decided
    drift = list(drifted(parts, status(parts.home).wants))
    decided = replace(decided, drift=tuple(map(str, drift)), changes=_restarted(decided.changes, drift))
    held = parts.generations.held(parts.asked)
    known = None if held is None else parts.known()
    return decided if known is None or known.number != held else _held(decided, known)


def drifted(parts: Parts, wants: tuple[str, ...]) -> Iterator[Drift]:
    """Yield what is not as the current generation says; nothing of a server that is a person's own.

    ``wants`` holds the digests of what the servers that run were started for, the newest first.
    """
    from concierge.deploy import drift
    from concierge.deploy.question import askings

    generations = parts.generations
    pointer = generations.pointer()
    if pointer is None or parts.named:
        return
    current = generations.read(pointer.number)
    if current is None:
        yield drift.Drift("generation", str(generations.file(pointer.number)), "cannot be read")
        return
    yield from drift.of_files(current.spec)
    yield from drift.of_server(current, wants, generations)
    yield from drift.of_machine(current, parts.marks)
    answered = {current.asked, *(asked for asked, number in pointer.held if number == pointer.number)}
    if _asks(parts) and not answered & askings(parts.question):
        yield from drift.of_question(current, parts.question)


def _asks(parts: Parts) -> bool:
    """Tell whether this folder asks for something: elsewhere, what runs is as good as anything."""
    from concierge.deploy.question import ASKED

    named = {("llm", key) for key in ASKED} & parts.found.keys()
    return bool(named) or (parts.folder / "concierge.lock").is_file()


def _restarted(changes: tuple[Change, ...], drift: list[Drift]) -> tuple[Change, ...]:
    """Return the changes of a plan, of which a server that runs otherwise than it should is one."""
    because = next((str(each) for each in drift if each.what == "server"), None)
    return tuple(
        replace(change, action="~", detail=f"restarts: {because}")
        if because is not None and (change.what, change.action) == ("server", "=")
        else change
        for change in changes
    )


def _held(decided: Plan, known: Generation) -> Plan:
    """Return the plan of a folder whose question a rollback has answered: that generation, as it is."""
    from concierge.plan.words import Change

    spec = known.spec
    was = next((change for change in decided.changes if change.what == "server"), None)
    serves = was is not None and was.action != "+"
    changes: list[Change] = [
        Change("=", "engine", f"{spec.build}, already here"),
        Change("=", "model", f"{spec.model}, already here"),
        Change("=" if serves else "+", "server", f"{'runs' if serves else 'starts'} with {spec.context} tokens"),
    ]
    reason = f"`concierge rollback` went to generation {known.number}; without it:"
    return replace(
        decided,
        model_name=spec.model,
        context=spec.context,
        changes=tuple(changes),
        reasons=(reason, *decided.reasons),
        fetch_bytes=0,
        disk_bytes=0,
    )
