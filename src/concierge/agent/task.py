"""What a run is given, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass, field

from concierge.config.keys import Run

Limits = Run
"""What a run may spend: exactly what the configuration's ``run`` section says."""


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
