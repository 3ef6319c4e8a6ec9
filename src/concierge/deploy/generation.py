"""Applied plans: numbered, one of them current, so that a warm start neither probes nor plans.

``generations/<n>.json`` says what was asked for and which server came of it; ``current`` holds a number and is
replaced atomically. A generation that cannot be read, or whose bytes are gone, counts as absent: it is made again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from concierge import files, jsontext, mutex
from concierge.catalog import reference
from concierge.errors import StoreError
from concierge.plan.words import Deployed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.catalog.types import Engine, Launcher
    from concierge.config.keys import Llm
    from concierge.paths import Home
    from concierge.platforms import Accelerator

SCHEMA = 1
LOCK = "lock"
WAIT_S = 30.0
"""Far longer than the few writes that are done under the lock, on the slowest disk."""

ASKED = ("engine", "model", "context", "accelerator")
"""The keys of ``llm`` that decide what is deployed; the others say how to reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec(Deployed):
    """The server that deploy hands over: its bytes are in the store already, and equal specs mean equal servers.

    Attributes:
        engine_root: The unpacked engine in the store, read-only.
        executable: Path of the program below ``engine_root``, for launchers that have one.
        model_path: The GGUF (its first shard) in the store.
    """

    engine: Engine
    launcher: Launcher
    accelerator: Accelerator
    engine_root: Path
    executable: str | None
    model_path: Path


@dataclass(frozen=True, slots=True)
class Generation:
    """One applied plan.

    Attributes:
        asked: Digest of what was asked for and of the pins that it was resolved from.
        tools: Whether the model knows tools.
        protocol: How it acts best; None where that is not known.
        reasons: Why this engine and this model.
    """

    number: int
    asked: str
    tools: bool
    reasons: tuple[str, ...]
    spec: ServerSpec
    protocol: str | None = None


def asked_digest(llm: Llm, pins: bytes, *, folder: Path | None = None) -> str:
    """Return the digest of what is asked for: the deciding keys, and the pins they are resolved from.

    A model file counts with its path, size and time: a warm start does not wait for its hash.
    """
    wanted = {key: getattr(llm, key) for key in ASKED}
    file = reference.state(reference.parse(llm.model, folder=folder))
    asked = wanted | ({"file": file} if file else {})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode() + b"\0" + pins).hexdigest()


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of one home; ``wait_s`` bounds the wait for another command that writes one."""

    home: Home
    wait_s: float = WAIT_S

    def current(self) -> Generation | None:
        """Return the current generation, if its bytes are still there."""
        try:
            return self._read(int(self.home.current.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return None

    def find(self, asked: str) -> Generation | None:
        """Return the newest generation that answers ``asked`` and whose bytes are still there."""
        for number in reversed(self._numbers()):
            generation = self._read(number)
            if generation is not None and generation.asked == asked:
                return generation
        return None

    def switch(self, generation: Generation) -> Generation:
        """Make ``generation`` current, writing it under the next number unless one that says the same is there.

        Raises:
            StoreError: It cannot be written, or another command holds the lock of the generations for too long.
        """
        if self.current() == generation:
            return generation
        with self._numbering():
            return self._switch(generation)

    @contextmanager
    def _numbering(self) -> Iterator[None]:
        """Keep others from taking a number meanwhile."""
        with files.storing(self.home.generations), ExitStack() as stack:
            self.home.generations.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self.home.generations / LOCK
            try:
                had = stack.enter_context(mutex.held_file(lock, wait_s=self.wait_s))
            except OSError as error:
                if error.errno not in mutex.NOT_OFFERED:
                    raise
                had = True
            if not had:
                raise StoreError(f"Another command holds {lock}.", where=str(lock), hint="Wait for it or end it.")
            yield

    def _switch(self, generation: Generation) -> Generation:
        known = self.find(generation.asked)
        if known is None or replace(known, number=0) != replace(generation, number=0):
            number = max(self._numbers(), default=0) + 1
            known = replace(generation, number=number)
            self._write(self._file(number), json.dumps(self._document(known), indent=2))
        if self.current() != known:
            self._write(self.home.current, str(known.number))
        return known

    def _numbers(self) -> list[int]:
        with files.storing(self.home.generations):
            there = list(self.home.generations.iterdir()) if self.home.generations.is_dir() else []
        return sorted(int(file.stem) for file in there if file.suffix == ".json" and file.stem.isdigit())

    def _file(self, number: int) -> Path:
        return self.home.generations / f"{number}.json"

    def _document(self, generation: Generation) -> dict[str, Any]:
        document = {"schema": SCHEMA, **asdict(generation)}
        for key in ("engine_root", "model_path"):
            document["spec"][key] = str(getattr(generation.spec, key).relative_to(self.home.store))
        return document

    def _read(self, number: int) -> Generation | None:
        try:
            document = jsontext.parse(self._file(number).read_bytes())
            if document.pop("schema") != SCHEMA:
                return None
            spec = document.pop("spec")
            for key in ("engine_root", "model_path"):
                spec[key] = self.home.store / spec[key]
            spec["parameters"] = tuple((name, value) for name, value in spec["parameters"])
            reasons = tuple(document.pop("reasons"))
            generation = Generation(spec=ServerSpec(**spec), reasons=reasons, **document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        whole = generation.spec.engine_root.is_dir() and generation.spec.model_path.is_file()
        return generation if whole else None

    def _write(self, file: Path, text: str) -> None:
        with files.storing(file):
            self.home.generations.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(file, f"{text}\n".encode())
