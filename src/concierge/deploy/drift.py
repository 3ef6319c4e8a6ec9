"""What is not as the current generation says: files, the running server, the machine, or what is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from concierge.deploy.question import LOCKED, differences
from concierge.store import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concierge.deploy.generation import Generation, Generations
    from concierge.deploy.question import Pairs
    from concierge.deploy.spec import ServerSpec

What = Literal["file", "generation", "server", "machine", "question"]

COMPARED = ("build", "engine_sha256", "model", "model_sha256", "context")
"""Facts of a server that are told one by one; its parameters are the others."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as the current generation says; ``up`` puts it right.

    Attributes:
        where: The file, or what else it is that differs.
    """

    what: What
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where} {self.detail}"


def of_files(spec: ServerSpec) -> Iterator[Drift]:
    """Yield what a glance shows in the entries of a server."""
    for entry in spec.entries:
        for fault in manifest.glance(entry):
            yield Drift("file", str(fault.path), f"is {manifest.WORDS[fault.what]}")


def of_machine(current: Generation, marks: Pairs) -> Iterator[Drift]:
    """Yield what the machine was when the generation was made, and is not any more."""
    if current.marks:
        for difference in differences(current.marks, marks):
            yield Drift("machine", "this machine", f"is another one: {difference}")


def of_question(current: Generation, question: Pairs) -> Iterator[Drift]:
    """Yield what is asked for now, and was not when the generation was made."""
    # Who looks need not say again that nothing but the lock may answer.
    before, now = (tuple(pair for pair in pairs if pair[0] != LOCKED) for pairs in (current.question, question))
    for difference in differences(before, now):
        name, _, change = difference.partition(" ")
        where = {"lock": "concierge.lock", "catalogue": "the catalogue"}.get(name, name)
        yield Drift("question", where, f"has moved: {change}")


def of_server(current: Generation, wants: Sequence[str], generations: Generations) -> Iterator[Drift]:
    """Yield how the newest server differs from the current generation, where none was started for that.

    ``wants`` holds the digests of what the servers that run were started for, the newest first.
    """
    if not wants or current.spec.digest in wants:
        return
    known = (kept.generation for kept in reversed(generations.all()))
    other = next((one for one in known if one is not None and one.spec.digest == wants[0]), None)
    if other is None:
        yield Drift("server", "the running server", "was started for something else")
    for difference in spec_differences(other.spec, current.spec) if other else ():
        yield Drift("server", "the running server", f"was started otherwise: {difference}")


def spec_differences(before: ServerSpec, now: ServerSpec) -> list[str]:
    """Return what differs between two servers, in words."""
    return differences(_facts(before), _facts(now))


def _facts(spec: ServerSpec) -> Pairs:
    given: Sequence[tuple[str, str]] = [(name, str(getattr(spec, name))) for name in COMPARED]
    return (*given, *spec.parameters)
