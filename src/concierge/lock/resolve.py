"""Resolve a ``concierge.toml`` for every system and accelerator at once, and tell whether a lock still holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from concierge import __version__
from concierge.catalog import reference
from concierge.catalog.flags import PARAMETERS
from concierge.catalog.types import Catalog
from concierge.errors import ConfigError
from concierge.lock.file import FILE, Asked, Lock, build_key, seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from concierge.catalog.types import Artefact, Build, Frozen, Model
    from concierge.config.keys import Llm
    from concierge.lock.foreign import Describe


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a lock is not current.

    Attributes:
        what: The key or the entry that differs.
        kind: ``config``: the lock answers another question, so ``--locked`` refuses it. ``catalogue``: this release
            knows something else; the lock still says what to use.
    """

    what: str
    locked: str | None
    wanted: str | None
    reason: str
    kind: Literal["config", "catalogue"]

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


def resolve(llm: Llm, catalog: Catalog, describe: Describe | None = None, *, folder: Path | None = None) -> Lock:
    """Return the lock of ``llm``: every build and every model that any machine could be given."""
    models = _models(llm, catalog, describe, folder) if not llm.never_started else ()
    builds = _builds(llm, catalog) if models else ()
    return seal(__version__, _asked(llm), Catalog(builds=builds, models=models), dict(PARAMETERS))


def check(
    lock: Lock, llm: Llm, catalog: Catalog, describe: Describe | None = None, *, folder: Path | None = None
) -> list[Difference]:
    """Return why ``lock`` is not what ``concierge lock`` would write now; an empty list when it is.

    A model of a repository's commit is taken as locked, since a commit cannot change; a local file is read again.
    """
    asked = list(_asked_differences(lock.llm, _asked(llm)))
    if asked:
        return asked
    foreign = reference.parse(llm.model, folder=folder)
    if isinstance(foreign, reference.Hub) or (isinstance(foreign, reference.Local) and describe is None):
        wanted = resolve(llm, catalog, lambda _: lock.model[0], folder=folder)
    else:
        wanted = resolve(llm, catalog, describe, folder=folder)
    return [
        *_entries("build", _by_build(lock), _by_build(wanted)),
        *_entries("model", _by_name(lock), _by_name(wanted)),
        *_serving(lock, wanted),
    ]


def confine(lock: Lock, llm: Llm) -> Catalog:
    """Return what ``--locked`` may choose from."""
    differences = list(_asked_differences(lock.llm, _asked(llm)))
    if differences:
        raise ConfigError(
            f"{FILE} is not for this configuration: {'; '.join(map(str, differences))}.",
            where=FILE,
            hint="Run `concierge lock`, or leave out --locked.",
        )
    return lock.catalog


def _asked(llm: Llm) -> Asked:
    return Asked(engine=llm.engine, model=llm.model, context=llm.context, accelerator=llm.accelerator)


def _models(llm: Llm, catalog: Catalog, describe: Describe | None, folder: Path | None) -> tuple[Model, ...]:
    wanted = reference.parse(llm.model, folder=folder)
    match wanted:
        case reference.Auto():
            return tuple(model for model in catalog.models if model.gguf is not None)
        case reference.Named(name):
            model = catalog.model(name)
            return () if model is None else (model,)
        case reference.Hub() | reference.Local():
            if describe is None:
                raise ConfigError(
                    f"`{llm.model}` is not in the catalogue and cannot be looked up here.",
                    where="llm.model",
                    hint="Run `concierge lock` where its repository or file can be reached.",
                )
            return (describe(wanted),)


def _builds(llm: Llm, catalog: Catalog) -> tuple[Build, ...]:
    return tuple(
        build
        for build in catalog.builds
        if llm.engine in ("auto", build.engine) and llm.accelerator in ("auto", build.accelerator)
    )


def _asked_differences(locked: Asked, wanted: Asked) -> Iterator[Difference]:
    for key in Asked.model_fields:
        old, new = str(getattr(locked, key)), str(getattr(wanted, key))
        if old != new:
            reason = f"locked for {old}, configured {new}"
            yield Difference(f"llm.{key}", old, new, reason, "config")


def _by_build(lock: Lock) -> dict[str, Frozen]:
    return {" ".join(build_key(build)): build for build in lock.build}


def _by_name(lock: Lock) -> dict[str, Frozen]:
    return {model.name: model for model in lock.model}


def _entries(kind: str, locked: Mapping[str, Frozen], wanted: Mapping[str, Frozen]) -> Iterator[Difference]:
    for name in sorted(locked.keys() | wanted.keys()):
        old, new, what = locked.get(name), wanted.get(name), f"{kind} {name}"
        if old == new:
            continue
        if old is None:
            yield Difference(what, None, name, "this release knows it and the lock does not", "catalogue")
        elif new is None:
            yield Difference(what, name, None, "locked, and this release no longer offers it", "catalogue")
        else:
            fields = [field for field in type(old).model_fields if getattr(old, field) != getattr(new, field)]
            yield Difference(
                what, _short(old, fields), _short(new, fields), f"differs in {', '.join(fields)}", "catalogue"
            )


def _serving(lock: Lock, wanted: Lock) -> Iterator[Difference]:
    for name in sorted(lock.serving.keys() | wanted.serving.keys()):
        old, new = lock.serving.get(name), wanted.serving.get(name)
        if old != new:
            yield Difference(f"serving.{name}", old, new, f"locked as {old}, would now be {new}", "catalogue")


def _short(entry: Frozen, fields: list[str]) -> str:
    artefacts: tuple[Artefact, ...] = getattr(entry, "artefact", ())
    if "artefact" in fields:
        return ", ".join(f"{artefact.name} {artefact.sha256[:12]}" for artefact in artefacts)
    return ", ".join(f"{field}={getattr(entry, field)}" for field in fields)
