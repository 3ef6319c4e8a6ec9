"""What a run is given and what it gives back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from concierge.config.keys import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.errors import ConciergeError

Limits = Run
"""What a run may spend: exactly what the configuration's ``run`` section says."""

Outcome = Literal["done", "stopped", "failed", "interrupted"]
"""``done`` is success and nothing else; a run without an outcome is ``unfinished`` when it is read."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a model is asked to do, and what it may spend on it.

    Attributes:
        text: The task in the user's words.
        model: The name that the server expects.
        limits: What the run may spend before it is stopped.
        offer_tools: False for a model that knows no tools: it gets the task and nothing else.
        temperature: Sampling temperature; the server's default when None.
    """

    text: str
    model: str
    limits: Limits = field(default_factory=Limits)
    offer_tools: bool = True
    temperature: float | None = 0.2


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens that a run has used; ``estimated`` when a server did not count some of them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: the content of ``result.json``.

    Attributes:
        run_id: The name of the run's directory.
        outcome: ``done`` when the task was answered.
        reason: The word for why it ended so: docs/runs.md lists them.
        text: The answer when ``done``; otherwise the last text that the model wrote.
        steps: Answers that the model gave.
        usage: Tokens that it took.
        seconds: Wall time.
        model: The name that was asked for.
        error: The error as the object that ``--json`` prints, unless ``done``.
        cause: The error itself; not written.
    """

    run_id: str
    outcome: Outcome
    reason: str
    text: str
    steps: int
    usage: Spent
    seconds: float
    model: str
    error: Mapping[str, Any] | None = None
    cause: ConciergeError | None = field(default=None, repr=False, compare=False)

    @property
    def exit_code(self) -> int:
        """Return what a command that ends with this run exits with."""
        if self.outcome == "done":
            return 0
        return int((self.error or {}).get("exit_code", 1))

    def as_dict(self) -> dict[str, Any]:
        """Return the object that ``result.json`` and ``--json`` hold."""
        return {
            "run_id": self.run_id,
            "outcome": self.outcome,
            "reason": self.reason,
            "text": self.text,
            "steps": self.steps,
            "usage": asdict(self.usage),
            "seconds": self.seconds,
            "model": self.model,
            "error": None if self.error is None else dict(self.error),
        }


def to_json(value: object, *, indent: int | None = None) -> bytes:
    """Encode as UTF-8 JSON; text that UTF-8 cannot hold (a lone surrogate) becomes a JSON escape."""
    return json.dumps(value, ensure_ascii=False, indent=indent).encode("utf-8", "backslashreplace")
