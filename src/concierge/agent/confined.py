"""The shell of a run: each command confined to the run's folder, and told in the words that models know."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.agent import footprint
from concierge.agent.commands import emptied, is_program, keeping, missing_folder, quoted
from concierge.agent.naming import named_files
from concierge.agent.place import shortened
from concierge.agent.sandbox.shell import Limits
from concierge.agent.sandbox.view import seen
from concierge.agent.workspace import Workspace
from concierge.errors import SandboxError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from concierge.agent.footprint import Texts
    from concierge.agent.sandbox.shell import Outcome, Sandbox

LIMITS = Limits()
PROGRAM = "[that is Python and no shell command: put cat > its_name.py <<'EOF' before it, and EOF after it]"
PRINTED = "[no file was changed: this was only printed."
COVERED = (".git", ".concierge")
"""What lies in a folder of the user's and is not kept, so that a command may not touch it."""


@dataclass(frozen=True, slots=True)
class ConfinedShell:
    """Runs commands in one folder.

    Attributes:
        sandbox: What confines them.
        looks: What is seen of the folder before and after a command.
        folder: What they may write.
        invisible: What they may not see although it lies inside of something that they do.
        network: Whether they share this machine's network.
        task: What the commands are for.
    """

    sandbox: Sandbox
    looks: footprint.Looks
    folder: Path
    invisible: tuple[Path, ...] = ()
    network: bool = False
    task: str = ""

    async def __call__(self, command: str) -> str:
        """Run a command, and return its output, how it ended, and what it changed.

        Raises:
            ToolError: It could not be run here, or was stopped.
        """
        before = await asyncio.to_thread(self.looks.texts)
        command = quoted(command, [*named_files(self.task), *(before or ())])
        if file := emptied(command):
            raise ToolError(f"That would empty {file} before it is read. Write to another file, and then use mv.")
        outcome = await self._confined(command)
        after = await asyncio.to_thread(self.looks.texts)
        return "\n".join(
            filter(None, (told(outcome), self._hint(command, outcome), self._news(command, outcome, before, after)))
        )

    async def _confined(self, command: str) -> Outcome:
        try:
            return await self.sandbox.run(
                command,
                folder=self.folder,
                limits=LIMITS,
                network=self.network,
                invisible=self.invisible,
            )
        except SandboxError as error:
            raise ToolError(f"The shell could not be confined, so nothing was run: {error.what}") from None

    def _hint(self, command: str, outcome: Outcome) -> str:
        if not outcome.exit:
            return ""
        if is_program(command):
            return PROGRAM
        folder = missing_folder(command, lambda name: (self.folder / name).is_dir())
        return f"[there is no folder {folder}: mkdir -p {folder}]" if folder else ""

    def _news(self, command: str, outcome: Outcome, before: Texts | None, after: Texts | None) -> str:
        """Return what changed; that nothing did is no news where a question made a command print something."""
        changes = footprint.told(before, after)
        if changes != footprint.NOTHING or not outcome.output.strip() or outcome.exit:
            return changes
        if "?" in self.task:
            return ""
        kept = keeping(command, before or ())
        return f"{PRINTED} To change the file: {kept}]" if kept else f"{PRINTED}]"


def shell_in(
    sandbox: Sandbox,
    folder: Path,
    *,
    invisible: Collection[Path],
    network: bool,
    say: Callable[[str], None],
    task: str = "",
) -> ConfinedShell | None:
    """Return the shell of a folder; None, and why, where a command may not have that folder for itself."""
    covered = (*invisible, *(path for name in COVERED if (path := folder / name).is_dir()))
    apart = tuple(path for path in covered if path.resolve() not in (folder.resolve(), *folder.resolve().parents))
    try:
        seen(folder, invisible=apart, network=network)
    except SandboxError as error:
        say(f"There is no shell in this folder: {error.what}")
        return None
    return ConfinedShell(sandbox, footprint.Looks(Workspace(folder)), folder, apart, network, task)


def told(outcome: Outcome) -> str:
    """Return what a model sees of how a command ended: its output, and its exit code where that is not 0."""
    output = shortened(outcome.output.rstrip()) or "(nothing)"
    match outcome.ended:
        case "time":
            return f"Output:\n{output}\n[stopped after {LIMITS.seconds:g} s: use a command that ends by itself]"
        case "output":
            return f"Output:\n{output}\n[stopped: it printed more than {LIMITS.output_bytes} bytes]"
        case "exit":
            return f"Output:\n{output}" + (f"\n[exit code {outcome.exit}]" if outcome.exit else "")
