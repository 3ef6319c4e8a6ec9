"""What was measured, as a table and as a document."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from statistics import mean
from typing import TYPE_CHECKING

from bench.agent.task import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.agent.driver import Ran
    from bench.agent.task import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One try at one task.

    Attributes:
        number: Which try, from 1.
        reason: Why it does not count as solved; empty when it does.
    """

    task: str
    kind: Kind
    number: int
    reason: str
    ran: Ran

    @property
    def solved(self) -> bool:
        return not self.reason

    def as_dict(self) -> dict[str, object]:
        """Return the object of the document."""
        return {
            "task": self.task,
            "kind": self.kind,
            "try": self.number,
            "solved": self.solved,
            "reason": self.reason,
            **asdict(self.ran),
            "seconds": round(self.ran.seconds, 2),
        }


def table(title: str, tries: Sequence[Tried]) -> str:
    """Return the tries by kind, and below them those that failed, each with its reason."""
    rows = [_row(kind, [tried for tried in tries if tried.kind == kind]) for kind in KINDS]
    head = f"{'kind':<10}{'solved':>9}{'steps':>8}{'tokens':>9}{'seconds':>9}"
    failed = [_failed(tried) for tried in tries if not tried.solved]
    return "\n".join([title, "", head, *filter(None, rows), _row("all", tries), *_below(failed)])


def document(facts: Mapping[str, object], tries: Sequence[Tried]) -> str:
    """Return everything as JSON."""
    solved = sum(tried.solved for tried in tries)
    whole = {**facts, "solved": solved, "total": len(tries), "tries": [tried.as_dict() for tried in tries]}
    return f"{json.dumps(whole, ensure_ascii=False, indent=1)}\n"


def _row(name: str, tries: Sequence[Tried]) -> str:
    if not tries:
        return ""
    solved = f"{sum(tried.solved for tried in tries)}/{len(tries)}"
    steps = mean(tried.ran.steps for tried in tries)
    tokens = mean(tried.ran.prompt_tokens + tried.ran.completion_tokens for tried in tries)
    seconds = mean(tried.ran.seconds for tried in tries)
    return f"{name:<10}{solved:>9}{steps:>8.1f}{tokens:>9.0f}{seconds:>9.1f}"


def _failed(tried: Tried) -> str:
    error = f" ({tried.ran.error})" if tried.ran.error else ""
    return f"  {tried.task}: {tried.reason}{error}"


def _below(failed: Sequence[str]) -> Iterator[str]:
    if failed:
        yield from ("", "not solved:", *failed)
