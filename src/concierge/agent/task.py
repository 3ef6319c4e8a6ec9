"""What a run is given, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.config.keys import Run

CONTEXTS, LEAST_TOKENS = 8, 100_000
"""A run whose tokens nobody bounds may use so many contexts full, and so many tokens at least."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may spend.

    Attributes:
        max_steps: Answers that the model may give.
        max_tokens: Tokens, read and written together.
        max_seconds: Wall time.
    """

    max_steps: int = 20
    max_tokens: int = LEAST_TOKENS
    max_seconds: float = 1800.0


def limits(run: Run, context: int | None) -> Limits:
    """Return what the configuration allows a run whose model has that many tokens of context, None when unknown."""
    tokens = max(CONTEXTS * (context or 0), LEAST_TOKENS) if run.max_tokens == "auto" else run.max_tokens
    return Limits(run.max_steps, tokens, run.max_seconds)


@dataclass(frozen=True, slots=True)
class Task:
    """What a model is asked to do, and what it may spend on it.

    Attributes:
        text: The task in the user's words.
        model: The name that the server expects.
        limits: What the run may spend before it is stopped.
        offer_tools: False for a model that knows no tools: it gets the task and nothing else.
        protocol: How the model is taught to act: ``native``, ``shell`` or ``json``.
        context: Tokens that the model can hold; None when unknown.
        temperature: Sampling temperature; the server's default when None.
    """

    text: str
    model: str
    limits: Limits = field(default_factory=Limits)
    offer_tools: bool = True
    protocol: str = "native"
    context: int | None = None
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
