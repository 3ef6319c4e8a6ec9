"""What a person who waits is told of a run: one line for each step, on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge import jsontext
from concierge.agent.events import CutOff, Folded, Misread, Started, ToolCalled, ToolReturned, ToolsRefused

if TYPE_CHECKING:
    from concierge.agent.events import Event
    from concierge.cli.output import Live
    from concierge.endpoint import Endpoint
    from concierge.river.river import River

ARGUMENT_CHARS = 100
PATHS = 10


class Narrator:
    """Tells what a run does, as it is journalled."""

    def __init__(self, river: River, live: Live) -> None:
        self._river = river
        self._live = live
        self._calls: dict[str, ToolCalled] = {}
        self.run_id = ""

    def event(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Started():
                self.run_id = event.id
                self._started(event)
            case ToolsRefused():
                how = "with shell commands." if event.protocol == "shell" else "without, so no file is touched."
                self._say(f"The server takes no tools for this model: going on {how}")
            case CutOff():
                self._say(f"The answer was cut off; what had arrived of it: concierge runs show {event.id}")
            case Folded():
                self._say("The conversation outgrew the model's context: its oldest steps are left out from here on.")
            case Misread():
                self._say(f"  {event.text}"[:200])
            case ToolCalled():
                self._live.interrupt()
                self._calls[event.call_id] = event
            case ToolReturned():
                self._say(_step(self._calls[event.call_id], event))
            case _:
                pass

    def _started(self, event: Started) -> None:
        self._say(f"Run {event.id} in {self._river.config.workspace_root / 'runs' / event.id}")
        if event.folder:
            self._say(f"It works in {event.folder}.")
        if not event.tools:
            self._say(f"{event.model} has no tools: it answers, and touches no file.")

    def _say(self, line: str) -> None:
        self._live.interrupt()
        self._river.say(line)


def _step(called: ToolCalled, returned: ToolReturned) -> str:
    """Return a step as one line: tool, argument, what came back, seconds."""
    given = jsontext.parse_object(called.arguments)
    argument = next(iter(given.values()), "") if given else called.arguments
    shown = " ".join(str(argument).split())
    shown = shown if len(shown) <= ARGUMENT_CHARS else f"{shown[:ARGUMENT_CHARS]}…"
    came = f"{len(returned.text):,} characters" if returned.status == "ok" else returned.text.splitlines()[0][:120]
    return f"  {called.tool} {shown}  ({came}, {returned.seconds:.1f} s)"


def who(endpoint: Endpoint) -> str:
    """Say who answers: it may be a server that nobody named."""
    if endpoint.owned:
        answers = "concierge's own"
    else:
        answers = "which was there already" if endpoint.address.loopback else "on another machine"
    return f"{endpoint.model} answers at {endpoint.base_url}, {answers}."


def tell_changes(river: River, run_id: str) -> None:
    """Say which files of its user's a run changed, and how to look at it."""
    found = river.changes(run_id)
    paths = [change.path for change in found.changed] if found else []
    if paths:
        more = f" and {len(paths) - PATHS} more" if len(paths) > PATHS else ""
        river.say(f"Changed: {', '.join(paths[:PATHS])}{more}. Seen with: concierge runs diff last")
