"""A command of a model's, run where it can reach one folder and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from concierge.agent.sandbox.keeping import kept
from concierge.agent.sandbox.launcher.order import Order
from concierge.agent.sandbox.view import Secrets, seen
from concierge.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.agent.sandbox.view import View

COMMAND_BYTES = 128 * KIB - 1
"""The kernel takes no longer argument."""
_CANNOT_RUN = 126

Layer = Literal["bubblewrap", "namespaces", "seatbelt"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may take; memory is that of all its processes together, and what lies in its ``/tmp``."""

    seconds: float = 60.0
    memory_bytes: int = 2 * GIB
    processes: int = 128
    file_bytes: int = 256 * MIB
    output_bytes: int = 64 * KIB


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    exit: int | None
    """Its exit code, 128 and the signal's number if a signal ended it; None if it was stopped."""
    output: str
    """What it printed to both of its streams, as far as that was heard."""
    cut: bool
    """Whether it printed more than that."""
    ended: Literal["exit", "time", "output"]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What confines commands on this machine."""

    layer: Layer
    helper: str = ""
    """The program that does it, if it is not ours."""
    secrets: Secrets = field(default_factory=Secrets, compare=False, repr=False)

    async def run(
        self,
        command: str,
        *,
        folder: Path,
        limits: Limits,
        network: bool = False,
        invisible: tuple[Path, ...] = (),
    ) -> Outcome:
        """Run a shell command that may write ``folder`` and read the system, and end all that it started.

        ``network`` shares this machine's network, its own servers included. What is ``invisible`` stays so where
        it lies inside of something visible; a folder of these that is missing in ``folder`` is made.

        Raises:
            SandboxError: The folder cannot be confined, or the system refused to. Nothing was run.
        """
        text = command.encode("utf-8", "replace").decode()
        if "\0" in text or len(text.encode()) > COMMAND_BYTES:
            what = f"The command has a NUL character or more than {COMMAND_BYTES} bytes. Put it into a file.\n"
            return Outcome(_CANNOT_RUN, what, cut=False, ended="exit")
        view = await asyncio.to_thread(seen, folder, invisible=invisible, network=network, secrets=self.secrets)
        order = self._order(text, view, limits, network=network)
        end = await kept(order.line(), seconds=limits.seconds, output_bytes=limits.output_bytes)
        return Outcome(end.code, end.output.decode("utf-8", "replace"), end.ended == "output", end.ended)

    def _order(self, command: str, view: View, limits: Limits, *, network: bool) -> Order:
        helper = [self.helper] if self.helper else []
        if self.layer == "seatbelt":
            from concierge.agent.sandbox.seatbelt import profile

            helper += ["-p", profile(view, network=network)]
        return Order(
            layer=self.layer,
            helper=helper,
            words=[view.shell, "-c", command],
            environ=view.environ,
            folder=view.folder,
            readable=view.readable,
            links=view.links,
            hidden=view.hidden,
            guards=view.guards,
            covered=view.covered,
            silenced=view.silenced,
            network=network,
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            file_bytes=limits.file_bytes,
        )
