"""Applied plans: numbered, one of them current, so that a warm start neither probes nor plans.

``generations/<n>.json`` says what was asked for and which server came of it. ``current`` holds a number, and below it
what a rollback left: a question and the number that answers it instead. It is replaced atomically. A generation that
cannot be read, or whose bytes are gone or damaged, counts as absent: it is made again.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from concierge import files, jsontext, mutex, paths
from concierge.deploy.question import Pairs, same_machine
from concierge.deploy.spec import ServerSpec
from concierge.errors import StoreError, UsageError
from concierge.store import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.paths import Home

SCHEMA = 1
LOCK = "lock"
WAIT_S = 30.0
"""Far longer than the few writes that are done under the lock, on the slowest disk."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One applied plan.

    Attributes:
        asked: Digest of what was asked for and of the pins that it was resolved from.
        tools: Whether the model knows tools.
        protocol: How it acts best; None where that is not known.
        reasons: Why this engine and this model.
        question: What was asked for, by name: what ``asked`` is the digest of.
        marks: What the machine was that it was made for, by name; empty where nobody said.
        failed: The builds that were tried before and do not serve here, each with the reason.
    """

    number: int
    asked: str
    tools: bool
    reasons: tuple[str, ...]
    spec: ServerSpec
    protocol: str | None = None
    question: Pairs = ()
    marks: Pairs = ()
    failed: Pairs = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What lies under a number.

    Attributes:
        generation: None where it cannot be read; its bytes may be gone.
        needs: Names of the entries that it needs, also where another release wrote it.
    """

    number: int
    generation: Generation | None
    needs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pointer:
    """What is current, and the questions that a rollback has answered: each with the number that answers it."""

    number: int
    held: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of one home; ``wait_s`` bounds the wait for another command that writes one."""

    home: Home
    wait_s: float = WAIT_S

    def current(self) -> Generation | None:
        """Return the current generation, if its bytes are still there."""
        pointer = self.pointer()
        return None if pointer is None else self._whole(pointer.number)

    def pointer(self) -> Pointer | None:
        """Return what is current, whether it can be read or not; None where nothing was ever applied."""
        try:
            first, *rest = self.home.current.read_text(encoding="ascii").splitlines()
            return Pointer(int(first), tuple((asked, int(number)) for asked, number in map(str.split, rest)))
        except (OSError, ValueError):
            return None

    def all(self) -> list[Kept]:
        """Return what lies under each number, in order, whether its bytes are there or not."""
        return [Kept(number, self.read(number), self._needs(number)) for number in self._numbers()]

    def find(self, asked: str, marks: Pairs = ()) -> Generation | None:
        """Return what answers ``asked`` on such a machine, and whose bytes are still there.

        That is what a rollback went to, else the newest.
        """
        if (held := self.held(asked)) is not None:
            generation = self._whole(held)
            if generation is not None and same_machine(generation.marks, marks):
                return generation
        return self._newest(asked, marks)

    def held(self, asked: str) -> int | None:
        """Return the number that a rollback chose to answer ``asked``, or None."""
        pointer = self.pointer()
        return None if pointer is None else dict(pointer.held).get(asked)

    def switch(self, generation: Generation) -> Generation:
        """Make ``generation`` current, writing it under the next number unless one that says the same is there.

        Raises:
            StoreError: It cannot be written, or another command holds the lock of the generations for too long.
        """
        if self.current() == generation:
            return generation
        with self._numbering():
            return self._switch(generation)

    def back(self, number: int | None = None) -> Generation:
        """Make an earlier generation current (that before this one, where no number is given), and let it answer.

        What the current one answered, it answers from now on, until something else is asked for.

        Raises:
            UsageError: There is no such generation.
            StoreError: Its bytes are gone or damaged, or it cannot be written.
        """
        with self._numbering():
            pointer = self.pointer()
            target = self._target(pointer, number)
            self._point(target.number, self._answered(pointer, target))
        return target

    def _target(self, pointer: Pointer | None, number: int | None) -> Generation:
        numbers = self._numbers()
        if number is None:
            earlier = [each for each in numbers if pointer is not None and each < pointer.number]
            if not earlier:
                raise UsageError("There is no earlier generation.", hint="`concierge generations` lists them.")
            number = earlier[-1]
        found = self.read(number) if number in numbers else None
        if found is None:
            gone = "cannot be read" if number in numbers else "is not there"
            raise UsageError(f"Generation {number} {gone}.", hint="`concierge generations` lists them.")
        faults = [fault for entry in found.spec.entries for fault in manifest.glance(entry)]
        if faults:
            raise StoreError(
                f"Generation {number} needs {faults[0].path}, which is {manifest.WORDS[faults[0].what]}.",
                where=str(faults[0].path),
                hint="Ask for it with `up` as it was asked for then: that fetches it.",
            )
        return found

    @contextmanager
    def _numbering(self) -> Iterator[None]:
        """Keep others from taking a number meanwhile."""
        with files.storing(self.home.generations), ExitStack() as stack:
            paths.make(self.home.generations, self.home.root)
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
        known = self._whole(generation.number) if generation.number else self._newest(generation.asked)
        if known is None or replace(known, number=0) != replace(generation, number=0):
            number = max(self._numbers(), default=0) + 1
            known = replace(generation, number=number)
            self._write(self.file(number), json.dumps(self._document(known), indent=2))
        pointer = self.pointer()
        held = () if pointer is None else pointer.held
        if not generation.number:  # Made anew: what answered it before does so no more.
            held = tuple(pair for pair in held if pair[0] != generation.asked or pair[1] == known.number)
        self._point(known.number, held)
        return known

    def _answered(self, pointer: Pointer | None, target: Generation) -> tuple[tuple[str, int], ...]:
        """Return who answers which question once a rollback went to ``target``."""
        if pointer is None:
            return ()
        moved = [asked for asked, answer in pointer.held if answer == pointer.number]
        current = self.read(pointer.number)
        if not moved and current is not None:
            moved = [current.asked]
        held = {**dict(pointer.held), **dict.fromkeys(moved, target.number)}
        if self._newest(target.asked) == target:
            held.pop(target.asked, None)
        return tuple(held.items())

    def _newest(self, asked: str, marks: Pairs = ()) -> Generation | None:
        for number in reversed(self._numbers()):
            found = self.read(number)
            # What costs a look at many files comes last.
            if found is not None and found.asked == asked and same_machine(found.marks, marks) and found.spec.whole:
                return found
        return None

    def _point(self, number: int, held: tuple[tuple[str, int], ...]) -> None:
        there = set(self._numbers())
        now = Pointer(number, tuple(pair for pair in held if pair[1] in there))
        if self.pointer() != now:
            lines = [str(number), *(f"{asked} {answer}" for asked, answer in now.held)]
            self._write(self.home.current, "\n".join(lines))

    def _numbers(self) -> list[int]:
        with files.storing(self.home.generations):
            there = list(self.home.generations.iterdir()) if self.home.generations.is_dir() else []
        return sorted(int(file.stem) for file in there if file.suffix == ".json" and file.stem.isdigit())

    def file(self, number: int) -> Path:
        """Return where a generation is written."""
        return self.home.generations / f"{number}.json"

    def _document(self, generation: Generation) -> dict[str, Any]:
        document = {"schema": SCHEMA, **asdict(generation)}
        for key in ("engine_root", "model_path"):
            document["spec"][key] = str(getattr(generation.spec, key).relative_to(self.home.store))
        return document

    def _whole(self, number: int) -> Generation | None:
        found = self.read(number)
        return found if found is not None and found.spec.whole else None

    def _needs(self, number: int) -> frozenset[str]:
        try:
            spec = jsontext.parse(self.file(number).read_bytes())["spec"]
            return frozenset(
                str(spec[key]).replace("\\", "/").partition("/")[0] for key in ("engine_root", "model_path")
            )
        except (OSError, ValueError, TypeError, KeyError):
            return frozenset()

    def read(self, number: int) -> Generation | None:
        """Return a generation by its number, whether its bytes are there or not; None where it cannot be read."""
        try:
            document = jsontext.parse(self.file(number).read_bytes())
            if document.pop("schema") != SCHEMA:
                return None
            spec = document.pop("spec")
            for key in ("engine_root", "model_path"):
                spec[key] = self.home.store / spec[key]
            spec["parameters"] = tuple((name, value) for name, value in spec["parameters"])
            reasons = tuple(document.pop("reasons"))
            document |= {key: _pairs(document.pop(key, ())) for key in ("question", "marks", "failed")}
            made = Generation(spec=ServerSpec(**spec), reasons=reasons, **document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return made

    def _write(self, file: Path, text: str) -> None:
        with files.storing(file):
            paths.make(self.home.generations, self.home.root)
            files.replace(file, f"{text}\n".encode())


def _pairs(known: Any) -> Pairs:
    return tuple((str(name), str(value)) for name, value in known)
