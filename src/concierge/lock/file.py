"""``concierge.lock`` as data: what it holds, how it is written and how it is read back."""

from __future__ import annotations

import hashlib
import json
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from concierge.catalog.types import Build, Catalog, Frozen, Model, Sha256
from concierge.errors import ConfigError
from concierge.lock.tomltext import dumps

if TYPE_CHECKING:
    from pathlib import Path

FILE = "concierge.lock"
SCHEMA = 1
_HEAD = "# Written by `concierge lock`. To change it, change concierge.toml and lock again.\n\n"
_AGAIN = "Run `concierge lock` to write it again."


class Asked(Frozen):
    """The keys of ``[llm]`` that were resolved, as they stood then."""

    engine: str
    model: str
    context: Annotated[int, Field(gt=0)] | Literal["auto"]
    accelerator: str


class Lock(Frozen):
    """Everything that ``up --locked`` may use, for every system and accelerator at once.

    Attributes:
        generator: The release of concierge that resolved it.
        source: Hash of what it was resolved from: the asked keys and the entries they led to.
        serving: Serving parameters that change behaviour.
        build: The engine builds, sorted by engine, system, accelerator, launcher, version and file.
        model: The models that the choice is made from, sorted by name.
    """

    generator: str
    source: Sha256
    llm: Asked
    serving: dict[str, str] = Field(default_factory=dict)
    build: tuple[Build, ...] = ()
    model: tuple[Model, ...] = ()

    @property
    def catalog(self) -> Catalog:
        """What the planner may choose from when it may choose from nothing else."""
        return Catalog(builds=self.build, models=self.model)


def seal(generator: str, llm: Asked, catalog: Catalog, serving: dict[str, str]) -> Lock:
    """Return the lock over these entries, in the order that makes its bytes always the same."""
    builds = tuple(sorted(catalog.builds, key=build_key))
    models = tuple(sorted(catalog.models, key=lambda model: model.name))
    lock = Lock(
        generator=generator, source="0" * 64, llm=llm, serving=dict(sorted(serving.items())), build=builds, model=models
    )
    return lock.model_copy(update={"source": _hash(_plain(lock, but={"generator", "source"}))})


def build_key(build: Build) -> tuple[str, ...]:
    """Return what tells builds apart."""
    return (build.engine, build.system, build.accelerator, build.launcher, build.version, build.artefact[0].name)


def dump(lock: Lock) -> str:
    """Return the file's text: one field a line, sorted, without a time; equal locks give equal bytes."""
    document = {"schema": SCHEMA, **_plain(lock, but=set())}
    document = {"schema": SCHEMA, "digest": _hash(document), **document}
    return _HEAD + dumps(document)


def load(path: Path) -> Lock:
    """Read a lock from its file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"No lock at {path}.", where=str(path), hint="Run `concierge lock` to write it.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"Cannot read {path}: {reason}.", where=str(path), hint=_AGAIN) from None
    return parse(text, where=str(path))


def parse(text: str, *, where: str = FILE) -> Lock:
    """Read a lock from its text."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}", where=where, hint=_AGAIN) from None
    schema = document.get("schema")
    if schema != SCHEMA:
        raise ConfigError(
            f"{where} has schema {schema!r}; this release of concierge reads {SCHEMA}.",
            where=where,
            hint="Use the release that wrote it, or lock again with this one.",
        )
    digest = document.pop("digest", None)
    if digest != _hash(document):
        raise ConfigError(
            f"{where} was changed after it was written: its digest does not match its content.",
            where=where,
            hint=f"Restore it from your history, or lock again. {_AGAIN}",
        )
    del document["schema"]
    return _validated(document, where)


def _validated(document: dict[str, Any], where: str) -> Lock:
    try:
        return Lock.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(word) for word in first["loc"])
        raise ConfigError(f"{where}: `{key}`: {first['msg']}.", where=where, hint=_AGAIN) from None


def _plain(lock: Lock, *, but: set[str]) -> dict[str, Any]:
    plain: dict[str, Any] = lock.model_dump(mode="json", exclude_none=True, exclude=but)
    return {key: _without_empty(value) for key, value in plain.items() if value != {}}


def _without_empty(value: Any) -> Any:
    """Drop empty tables, which the file does not show, at every depth."""
    if isinstance(value, dict):
        kept = {key: _without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner != {}}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


def _hash(document: dict[str, Any]) -> str:
    # A lock holds no dates; a foreign file may, and then it has another digest.
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
