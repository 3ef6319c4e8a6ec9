"""What carries a request out: concierge, or a peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one task may take.

    Attributes:
        steps: Answers that the model may give.
        seconds: Wall time, from the request on; what a program needs for its own start does not count.
    """

    steps: int = 10
    seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How one request went.

    Attributes:
        answer: What the agent said at the end.
        steps: Answers that the model gave.
        prompt_tokens: Tokens that the model read, all answers together, cached ones included.
        completion_tokens: Tokens that the model wrote.
        seconds: Wall time from the request to the end.
        error: Why the agent did not come to its own end; empty when it did.
    """

    answer: str = ""
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    error: str = ""


class Driver(Protocol):
    """Anything that takes a request for a folder."""

    def run(self, request: str, folder: Path) -> Ran:
        """Let the agent work in the folder until it ends or may not go on; never raises for what the agent does."""
        ...
