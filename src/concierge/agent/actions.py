"""Carrying out what a model asks for: whatever goes wrong becomes text that it can mend its call by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from concierge.agent.arguments import BadCallError
from concierge.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.agent.events import CallStatus

CALLS_PER_ANSWER = 16
"""A model that asks for more at once has lost its way."""


class Toolbox(Protocol):
    """The tools of one run."""

    def specs(self) -> tuple[Mapping[str, Any], ...]:
        """Return the tools in the chat-completions format."""
        ...

    def call(self, name: str, arguments: str) -> str:
        """Carry out a call as the model wrote it and return the text for the model."""
        ...


def carry_out(toolbox: Toolbox | None, tool: str, arguments: str, *, number: int) -> tuple[CallStatus, str]:
    """Return how the answer's call of that number went, and the text for the model."""
    if number > CALLS_PER_ANSWER:
        return "bad_call", f"Error: Too many calls at once. Send at most {CALLS_PER_ANSWER}, then wait."
    if toolbox is None:
        return "bad_call", "Error: There are no tools. Answer in plain text."
    try:
        return "ok", toolbox.call(tool, arguments)
    except BadCallError as error:
        return "bad_call", f"Error: {error}"
    except ToolError as error:
        return "error", f"Error: {error}"
