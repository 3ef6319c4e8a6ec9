"""``concierge run``, ``concierge runs`` and ``concierge serve``: tasks and their runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003  # typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from concierge.cli import options, output
from concierge.errors import UsageError, told

if TYPE_CHECKING:
    from concierge.agent.changes import Changes
    from concierge.agent.events import Event, RunResult
    from concierge.river.river import River

PIPED = 200_000
"""Characters that may be piped in beside a task; the HTTP API takes as many."""

PIPED_S = 1.0
"""How long the first of them may take."""

group = typer.Typer(help="List and show the runs below workspace_root.", no_args_is_help=True, rich_markup_mode=None)


@options.settings(*options.LLM, "locked", "trust", "workspace", "temperature", "max_steps", "max_tokens", "max_seconds")
def run(
    chosen: dict[str, Any],
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="TASK", help="What to do; what is piped in belongs to it, and `-` is all of it.", show_default=False
        ),
    ] = [],  # noqa: B006  # typer makes a new one each time
    *,
    inside: Annotated[
        Path | None, typer.Option("--in", help="Work on the files of this folder; else in a fresh one.")
    ] = None,
    goes_on: Annotated[
        bool, typer.Option("--continue", help="Go on where the last run ended, or the one whose ID comes before TASK.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Make sure that a local LLM answers, then let it do TASK and print the result."""
    from concierge.cli.narrator import tell_changes

    river = options.river(chosen)
    folder = folder_of(inside)
    continues, task = _meant(words, goes_on=goes_on, river=river)
    text = _text(task, empty=continues is not None)
    live = output.Live(shown=not as_json and sys.stdout.isatty(), dimmed=output.colours())
    result = _run(river, text, live, folder, continues, as_json=as_json)
    if not as_json:
        tell_changes(river, result.id)
        if result.error is None:
            live.end(result.text)
        else:
            output.error(told(result.error), as_json=False)
    return result.exit_code


def _meant(words: list[str], *, goes_on: bool, river: River) -> tuple[str | None, str]:
    """Return the run to go on with, if any, and the task: the ID comes first, and may stand alone."""
    if len(words) > 1 + goes_on or not (words or goes_on):
        what = "There is no task." if not words else "There is more than one task."
        raise UsageError(what, where="TASK", hint='Say what to do, in quotes: concierge run "…".')
    if not goes_on:
        return None, words[0]
    *named, task = words or [""]
    if not named and task and river.is_run(task):
        named, task = [task], ""
    return named[0] if named else "last", task


def _text(task: str, *, empty: bool) -> str:
    text = sys.stdin.read() if task == "-" else task + _piped()
    if not text.strip() and not empty:
        raise UsageError("The task is empty.", where="TASK", hint='Say what to do: concierge run "…".')
    return text.strip() and text


def _piped() -> str:
    """Return what is piped in beside the task: it belongs to it.

    A program that starts this one may leave it a pipe in which nothing ever comes, so that is not waited for.
    """
    told = sys.stdin.read(PIPED + 1) if sys.stdin is not None and _comes(sys.stdin) else ""
    if len(told) > PIPED:
        raise UsageError(
            f"More than {PIPED:,} characters are piped in beside the task.",
            where="standard input",
            hint="Pipe less of it, or name the file in the task.",
        )
    if not told.strip():
        return ""
    output.narrate(f"{len(told):,} characters from standard input belong to the task.")
    return f"\n\n{told}"


def _comes(stream: TextIO) -> bool:
    """Tell whether a file, or a pipe in which something comes in time, is handed in; one that is left aside is said."""
    import select
    import stat

    try:
        kind = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    if not stat.S_ISFIFO(kind) or sys.platform == "win32":  # where a pipe cannot be asked whether something is in it
        return stat.S_ISREG(kind)
    if select.select([stream], [], [], PIPED_S)[0]:
        return True
    output.narrate(
        f"Nothing came from standard input within {PIPED_S:g} s: it is left aside. As TASK, `-` waits for it."
    )
    return False


def folder_of(inside: Path | None) -> Path | None:
    if inside is None:
        return None
    if not inside.is_dir():
        what = "is no folder" if inside.exists() else "does not exist"
        raise UsageError(f"{inside} {what}.", where="--in", hint="Name the folder whose files are to be worked on.")
    return inside.resolve()


def _run(
    river: River, text: str, live: output.Live, inside: Path | None, continues: str | None, *, as_json: bool
) -> RunResult:
    import asyncio

    from concierge.cli.narrator import Narrator, who

    try:
        with river.using() as endpoint:
            river.say(who(endpoint))
            narrated = Narrator(river, live).event

            def told(event: Event) -> None:
                narrated(event)
                if as_json:
                    output.line(**event.as_dict())

            going = river.run(
                text, endpoint=endpoint, inside=inside, continues=continues, on_event=told, on_delta=live.piece
            )
            return asyncio.run(going)
    except KeyboardInterrupt:
        # What this command started for itself goes with it, unless others use it by now; what was there before stays.
        river.leave()
        raise


@group.command("list")
@options.settings("workspace")
def list_runs(
    chosen: dict[str, Any],
    *,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="The newest N only.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the runs, newest first."""
    river = options.river(chosen)
    found = river.runs(limit=limit)
    if as_json:
        output.data(runs=[summary.as_dict() for summary in found])
        return
    for summary in found:
        first = summary.task.strip().splitlines()[0] if summary.task.strip() else ""
        output.result(f"{summary.id}  {summary.result.status:<11}  {first[:80]}")
    if not found:
        output.narrate(f"No runs below {river.config.workspace_root / 'runs'}.")


@group.command("show")
@options.settings("workspace")
def show(
    chosen: dict[str, Any],
    run_id: Annotated[str, typer.Argument(help="The run's name, as `runs list` prints it.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Show one run: its task, its result and everything that happened in it."""
    record = options.river(chosen).read_run(run_id)
    if as_json:
        output.data(**record.as_dict())
        return
    summary = record.summary
    output.result(f"run      {summary.id}")
    output.result(f"task     {summary.task}")
    output.result(f"model    {summary.result.model}")
    output.result(f"status   {summary.result.status} {summary.result.reason}".rstrip())
    for event in record.events:
        output.result(f"{event.seq:>4}  {event.ts}  {event.kind}")
    if summary.result.text:
        output.result(f"\n{summary.result.text}")


@group.command("diff")
@options.settings("workspace")
def diff(
    chosen: dict[str, Any],
    run_id: Annotated[str, typer.Argument(help="The run's name, a beginning of it, or `last`.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Show what a run changed in the folder that it worked in."""
    from concierge.agent import changes

    found = _changes(options.river(chosen), run_id)
    lines = list(changes.diff(found))
    if as_json:
        output.data(folder=str(found.folder), paths=[change.path for change in found.changed], diff=lines)
        return
    for line in lines:
        output.result(line)
    if not found.changed:
        output.narrate(f"Nothing in {found.folder} was changed.")


@group.command("undo")
@options.settings("workspace")
def undo(
    chosen: dict[str, Any],
    run_id: Annotated[str, typer.Argument(help="The run's name, a beginning of it, or `last`.")],
    *,
    as_json: options.AsJson = False,
) -> int:
    """Put back what a run changed, but for files that somebody has changed since."""
    from concierge.agent import changes

    found = _changes(options.river(chosen), run_id)
    left = changes.undo(found)
    undone = [change.path for change in found.changed if change.path not in dict(left)]
    if as_json:
        output.data(undone=undone, left=[{"path": path, "reason": reason} for path, reason in left])
    for path, reason in left if not as_json else ():
        output.narrate(f"{path} is left as it is: {reason}.")
    if not as_json:
        output.narrate(f"Put back: {', '.join(undone)}." if undone else "Nothing was put back.")
    return 1 if left else 0


def _changes(river: River, run_id: str) -> Changes:
    found = river.changes(run_id)
    if found is None:
        raise UsageError(
            f"The run {run_id} worked in a folder of its own.",
            where="ID",
            hint="`concierge run --in DIR` works in yours.",
        )
    return found


@options.settings("host", "port", *options.LLM, "locked", "trust", "workspace")
def serve(chosen: dict[str, Any]) -> None:
    """Serve the HTTP API: make sure that a local LLM answers, then take tasks."""
    from concierge.api.server import serve as listen

    river = options.river(chosen)
    river.gate.settings()
    listen(river, say=output.narrate)
