"""A plan for people, in the signs that Terraform taught them, and the same as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from concierge.plan.words import build_name
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.plan.words import Plan

RATE = 12.5e6
"""Bytes a second that the time is estimated with: a line of 100 Mbit/s."""

CHANGED = 1
"""What ``--exit-code`` answers when carrying out the plan would do something; 2 already means wrong usage."""


def exit_code(plan: Plan) -> int:
    """Return 0 when everything is as planned, 1 when something would change."""
    return CHANGED if plan.would_change else 0


def text(plan: Plan, *, rejected: bool = True) -> str:
    """Return the plan as people read it, ending in a newline."""
    return "\n".join(_lines(plan, rejected=rejected)) + "\n"


def _lines(plan: Plan, *, rejected: bool) -> Iterator[str]:
    for change in plan.changes:
        size = f", {human(change.bytes)}" if change.bytes else ""
        yield f"  {change.action} {change.what:<8} {change.detail}{size}"
    if plan.drift:
        yield ""
        yield "Not as it was brought up:"
        yield from (f"  {line}" for line in plan.drift)
    yield ""
    yield "Why:"
    yield from (f"  {reason}" for reason in plan.reasons)
    if rejected and plan.rejected:
        yield ""
        yield "Not taken:"
        yield from (f"  {entry.kind} {entry.name}: {entry.reason}" for entry in plan.rejected)
    yield ""
    yield summary(plan)


def summary(plan: Plan) -> str:
    """Return the last line: what would happen, in numbers."""
    if not plan.would_change:
        return "Nothing to change."
    counts = {sign: sum(change.action == sign for change in plan.changes) for sign in "+~-="}
    words = zip("+~-=", ("to create", "to change", "to remove", "to keep"), strict=True)
    parts = ", ".join(f"{counts[sign]} {word}" for sign, word in words if counts[sign])
    if not plan.fetch_bytes:
        return f"Plan: {parts}. Nothing to fetch."
    return (
        f"Plan: {parts}. {human(plan.fetch_bytes)} to fetch, about {duration(plan.fetch_bytes / RATE)} at 100 Mbit/s; "
        f"{human(plan.disk_bytes)} of disk needed."
    )


def duration(seconds: float) -> str:
    """Return a time the way people say it."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def as_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as the object that ``--json`` prints; keys, signs and causes stay the same between releases."""
    build = plan.build
    artefacts = [artefact for entry in (build, plan.model) if entry is not None for artefact in entry.artefact]
    return {
        "engine": plan.engine,
        "build": None if build is None else build_name(build),
        "accelerator": plan.accelerator,
        "device": plan.device,
        "devices": list(plan.devices),
        "idle": list(plan.idle),
        "model": plan.model_name,
        "context": plan.context,
        "choice": plan.choice,
        "parameters": dict(plan.parameters),
        "base_url": None if plan.endpoint is None else plan.endpoint.base_url,
        "sources": {
            artefact.name: [source.model_dump(exclude_none=True) for source in artefact.sources]
            for artefact in artefacts
        },
        "trust": {artefact.name: artefact.trust for artefact in artefacts},
        "estimate": None if plan.estimate is None else asdict(plan.estimate),
        "reasons": list(plan.reasons),
        "rejected": [asdict(entry) for entry in plan.rejected],
        "changes": [asdict(change) for change in plan.changes],
        "fetch_bytes": plan.fetch_bytes,
        "disk_bytes": plan.disk_bytes,
        "drift": list(plan.drift),
        "would_change": plan.would_change,
    }
