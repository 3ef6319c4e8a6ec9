"""``concierge chat``: run after run in one conversation and one folder."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concierge.cli import options, output
from concierge.cli.runs import folder_of
from concierge.errors import ConciergeError, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.endpoint import Endpoint
    from concierge.river.river import River

HELP = "/diff  what the last turn changed\n/undo  put it back\n/exit  end; so does Ctrl-D. Ctrl-C stops an answer."
UNDONE = "[The user has put back what you changed last.]"


@options.settings(*options.LLM, "locked", "trust", "workspace", "temperature", "max_steps", "max_tokens", "max_seconds")
def chat(
    chosen: dict[str, Any],
    *,
    inside: Annotated[
        Path | None, typer.Option("--in", help="Work on the files of this folder; else in a fresh one.")
    ] = None,
    goes_on: Annotated[
        str | None, typer.Option("--continue", metavar="ID", help="Go on where this run ended, or the `last` one.")
    ] = None,
) -> None:
    """Talk with the model, which works on files as `run` does; each turn is a run of its own."""
    river = options.river(chosen)
    folder = folder_of(inside)
    if goes_on is not None:
        goes_on = river.read_run(goes_on).summary.id
    with river.using() as endpoint:
        Talk(river, endpoint, folder, goes_on).all()


class Talk:
    """The turns of one chat."""

    def __init__(self, river: River, endpoint: Endpoint, folder: Path | None, last: str | None) -> None:
        self._river, self._endpoint, self._folder, self._last = river, endpoint, folder, last
        self._turns: list[str] = []
        self._note = ""

    def all(self) -> None:
        """Take one line after the other until there is none."""
        from concierge.cli.narrator import who

        self._river.say(f"{who(self._endpoint)} /help says what else there is.")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  # gives `input` its history
        while (line := self._line()) is not None:
            match line.split():
                case []:
                    pass
                case ["/exit" | "/quit"]:
                    return
                case ["/diff"]:
                    self._guarded(self._diff)
                case ["/undo"]:
                    self._guarded(self._undo)
                case [word, *_] if word.startswith("/"):
                    output.narrate(HELP)
                case _:
                    self._turn(line)

    def _line(self) -> str | None:
        while True:
            try:
                return input("> " if sys.stdin.isatty() else "")
            except EOFError:
                return None
            except KeyboardInterrupt:
                output.narrate("\nCtrl-D, or /exit, ends the chat.")
            except UnicodeDecodeError:
                output.narrate("That is no UTF-8 text.")

    def _turn(self, line: str) -> None:
        import asyncio

        from concierge.cli.narrator import Narrator, tell_changes

        live = output.Live(shown=sys.stdout.isatty(), dimmed=output.colours())
        narrator = Narrator(self._river, live)
        text, self._note = f"{self._note}\n\n{line}".strip(), ""
        going = self._river.run(
            text,
            endpoint=self._endpoint,
            inside=self._folder,
            continues=self._last,
            on_event=narrator.event,
            on_delta=live.piece,
        )
        try:
            result = asyncio.run(going)
            if result.error is None:
                live.end(result.text)
            else:
                live.interrupt()
                output.error(told(result.error), as_json=False)
        except KeyboardInterrupt:
            live.interrupt()
            output.narrate("Stopped.")
        except ConciergeError as error:
            output.error(error, as_json=False)
        if narrator.run_id:
            self._last = narrator.run_id
            self._turns.append(narrator.run_id)
            self._guarded(lambda: tell_changes(self._river, narrator.run_id))

    def _diff(self) -> None:
        from concierge.agent import changes

        found = self._river.changes(self._turns[-1]) if self._turns else None
        lines = list(changes.diff(found)) if found else []
        output.result("\n".join(lines)) if lines else output.narrate("Nothing was changed in a folder of yours.")

    def _undo(self) -> None:
        from concierge.agent import changes

        found = self._river.changes(self._turns.pop()) if self._turns else None
        if found is None or not found.changed:
            output.narrate("There is nothing to put back.")
            return
        left = changes.undo(found)
        for path, reason in left:
            output.narrate(f"{path} is left as it is: {reason}.")
        undone = [change.path for change in found.changed if change.path not in dict(left)]
        output.narrate(f"Put back: {', '.join(undone)}." if undone else "Nothing was put back.")
        self._note = UNDONE

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except ConciergeError as error:
            output.error(error, as_json=False)
