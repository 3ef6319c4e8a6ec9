"""What is run to have a server: a program, its words and its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.errors import StartError
from concierge.server.processes.identity import LAUNCH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from concierge.deploy.generation import ServerSpec


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its words and its environment; secrets are in the environment only."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path | None = None


def marked(command: Command, launch: str) -> dict[str, str]:
    """Return the environment of a launch, with the mark by which its processes are known."""
    return {**command.environ, LAUNCH: launch}


def translate(spec: ServerSpec, known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the parameters of ``spec`` under the launcher's own names.

    Raises:
        StartError: The launcher does not know one of them.
    """
    unknown = [name for name, _ in spec.parameters if name not in known]
    if unknown:
        raise StartError(
            f"The launcher `{spec.launcher}` does not know the parameter `{unknown[0]}`.",
            where=unknown[0],
            hint=f"It knows {', '.join(sorted(known))}.",
        )
    return [(known[name], value) for name, value in spec.parameters]
