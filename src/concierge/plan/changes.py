"""What carrying out a choice would do to this machine, line by line, and how many bytes it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from concierge.catalog.types import digest, origin, room, sent
from concierge.plan.words import Change, build_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concierge.catalog.types import Artefact, Build, Model
    from concierge.plan.words import Deployed, Running

    Parameters = Sequence[tuple[str, str]]


def lines(build: Build, model: Model, context: int, parameters: Parameters, running: Running) -> list[Change]:
    """Return what would be created, changed and kept. Nothing is removed: the last generation stays for a rollback."""
    was = running.current
    old = (None, None) if was is None else (was.build, was.model)
    engine_is_new = was is not None and was.engine_sha256 != digest(build.artefact)
    model_is_new = was is not None and was.model_sha256 != digest(model.artefact)
    return [
        _entry("engine", build_name(build), build.artefact, running, old[0] if engine_is_new else None),
        _entry("model", f"{model.name} {model.quant}", model.artefact, running, old[1] if model_is_new else None),
        _server(context, parameters, running, changed=engine_is_new or model_is_new),
    ]


def fetched(artefact: Artefact) -> int:
    """Return the bytes that the first source of ``artefact`` sends over the network."""
    first = artefact.sources[0]
    return 0 if first.kind == "path" else sent(first, artefact)


def needed(build: Build, model: Model, running: Running) -> int:
    """Return the bytes that must be free on the store's disk, what is there only while unpacking included."""
    missing = (entry.artefact for entry in (build, model) if digest(entry.artefact) not in running.stored)
    return sum(room(artefacts) for artefacts in missing)


def _entry(
    what: Literal["engine", "model"], name: str, artefacts: Sequence[Artefact], running: Running, old: str | None
) -> Change:
    stored = digest(artefacts) in running.stored
    size = 0 if stored else sum(map(fetched, artefacts))
    detail = name if old is None else f"{old} → {name}"
    if stored:
        return Change("=" if old is None else "~", what, f"{detail}, already here", 0)
    brought = running.brings(name)
    if brought is not None:
        size = brought.bytes
        detail += f", compiled here with {brought.compiled} packages" if brought.compiles else ""
    return Change("+" if old is None else "~", what, f"{detail}, from {origin(artefacts[0].sources[0])}", size)


def _server(context: int, parameters: Parameters, running: Running, *, changed: bool) -> Change:
    was = running.current
    if was is None or not running.serving:
        flags = ", ".join(f"{name} {value}" for name, value in parameters)
        return Change("+", "server", f"starts with {context} tokens of context, {flags}")
    differences = list(_differences(was, context, parameters))
    if differences or changed:
        return Change("~", "server", f"restarts: {', '.join(differences) or 'for what is new above'}")
    return Change("=", "server", f"runs with {context} tokens of context")


def _differences(was: Deployed, context: int, parameters: Parameters) -> Iterator[str]:
    if was.context != context:
        yield f"context {was.context} → {context}"
    old, new = dict(was.parameters), dict(parameters)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name, 'unset')} → {new.get(name, 'unset')}"
