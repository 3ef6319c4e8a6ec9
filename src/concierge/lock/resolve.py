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
from concierge.units import human

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
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
        locked_bytes: Size of what is locked; None where nothing is, or where it is no bytes. ``wanted_bytes`` likewise.
    """

    what: str
    locked: str | None
    wanted: str | None
    reason: str
    kind: Literal["config", "catalogue"]
    locked_bytes: int | None = None
    wanted_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"

    @property
    def moved(self) -> str:
        """What it is, and what it would be, on one line."""
        sides = ((self.locked, self.locked_bytes), (self.wanted, self.wanted_bytes))
        old, new = (side if size is None else f"{side} ({human(size)})" for side, size in sides)
        return f"{self.what}: {old or 'nothing'} → {new or 'nothing'}"


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
    return compare(lock, wanted)


def compare(old: Lock, new: Lock) -> list[Difference]:
    """Return what differs between two locks, entry by entry."""
    return [
        *_asked_differences(old.llm, new.llm),
        *_entries("build", _by_build(old), _by_build(new)),
        *_entries("model", _by_name(old), _by_name(new)),
        *_serving(old, new),
    ]


def upgraded(lock: Lock, wanted: Lock, names: Collection[str]) -> Lock:
    """Return ``lock`` with the models and engines of these names as ``wanted`` has them, all else as it is.

    Raises:
        ConfigError: The lock answers another configuration, or neither holds such a name.
    """
    if differences := list(_asked_differences(lock.llm, wanted.llm)):
        raise ConfigError(
            f"{FILE} is not for this configuration: {'; '.join(map(str, differences))}.",
            where=FILE,
            hint="`concierge lock` writes all of it anew.",
        )
    known = {each for one in (lock, wanted) for each in (*(b.engine for b in one.build), *(m.name for m in one.model))}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"Neither {FILE} nor this release has a model or an engine `{name}`.",
                where=name,
                hint="`concierge lock --diff` names what would move.",
            )
    builds = [build for one, moves in ((lock, False), (wanted, True)) for build in one.build
              if (build.engine in names) is moves]  # fmt: skip
    models = [model for one, moves in ((lock, False), (wanted, True)) for model in one.model
              if (model.name in names) is moves]  # fmt: skip
    engines = any(build.engine in names for build in wanted.build)
    serving = wanted.serving if engines else lock.serving
    return seal(__version__, lock.llm, Catalog(builds=tuple(builds), models=tuple(models)), dict(serving))


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
            assert new is not None
            reason = "this release knows it and the lock does not"
            yield Difference(what, None, _short(new, ["artefact"]), reason, "catalogue", None, _size(new))
        elif new is None:
            reason = "locked, and this release no longer offers it"
            yield Difference(what, _short(old, ["artefact"]), None, reason, "catalogue", _size(old), None)
        else:
            fields = [field for field in type(old).model_fields if getattr(old, field) != getattr(new, field)]
            reason, sizes = f"differs in {', '.join(fields)}", (_size(old), _size(new))
            yield Difference(what, _short(old, fields), _short(new, fields), reason, "catalogue", *sizes)


def _serving(lock: Lock, wanted: Lock) -> Iterator[Difference]:
    for name in sorted(lock.serving.keys() | wanted.serving.keys()):
        old, new = lock.serving.get(name), wanted.serving.get(name)
        if old != new:
            yield Difference(f"serving.{name}", old, new, f"locked as {old}, would now be {new}", "catalogue")


def _size(entry: Frozen) -> int:
    artefacts: tuple[Artefact, ...] = getattr(entry, "artefact", ())
    return sum(artefact.size for artefact in artefacts)


def _short(entry: Frozen, fields: list[str]) -> str:
    artefacts: tuple[Artefact, ...] = getattr(entry, "artefact", ())
    if "artefact" in fields:
        return ", ".join(f"{artefact.name} {artefact.sha256[:12]}" for artefact in artefacts)
    return ", ".join(f"{field}={getattr(entry, field)}" for field in fields)
