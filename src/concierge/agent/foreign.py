"""Tools that are not the run's own: another program has them, and they reach what it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from concierge.agent.arguments import BadCallError, parse
from concierge.agent.place import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.agent.protocols.port import Spec


class Remote(Protocol):
    """One tool of another program."""

    async def __call__(self, arguments: Mapping[str, Any]) -> str:
        """Call it and return its text; a ``ToolError`` says why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Foreign:
    """A tool that another program has.

    Attributes:
        spec: What a model is told of it, in the chat-completions format.
        remote: Calls it.
    """

    spec: Spec
    remote: Remote

    @property
    def name(self) -> str:
        """What a model calls it."""
        return str(self.spec["function"]["name"])

    async def call(self, arguments: str) -> str:
        """Carry out a call as the model wrote it.

        Raises:
            BadCallError: What it needs is not given.
            ToolError: It failed, or does not answer.
        """
        parameters = self.spec["function"]["parameters"]
        required = parameters["required"]
        example = "{" + ", ".join(f'"{name}": …' for name in required or parameters["properties"]) + "}"
        given = parse(arguments, first=next(iter(required or parameters["properties"]), None), example=example)
        missing = next((name for name in required if name not in given), None)
        if missing is not None:
            raise BadCallError(f"`{missing}` is missing. Send for example {example}.")
        return shortened(await self.remote(given)) or "(nothing)"
