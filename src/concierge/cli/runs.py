"""``concierge run``, ``concierge runs`` and ``concierge serve``: tasks and their runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from concierge.cli import options, output
from concierge.documents import document
from concierge.errors import told

if TYPE_CHECKING:
    from concierge.agent.events import Event, RunResult
    from concierge.river.stack import Stack

group = typer.Typer(help="List and show the runs below workspace_root.", no_args_is_help=True, rich_markup_mode=None)


def run(
    task: Annotated[str, typer.Argument(help="What to do, in your words; `-` reads it from standard input.")],
    *,
    model: options.Model = None,
    engine: options.Engine = None,
    accelerator: options.Accelerator = None,
    context: options.Context = None,
    base_url: options.BaseUrl = None,
    locked: options.Locked = None,
    workspace: options.Workspace = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature, 0 to 2.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Answers that the model may give.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens, read and written, that the run may use.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Wall time that the run may take.")] = None,
    as_json: options.AsJson = False,
) -> int:
    """Make sure that a local LLM answers, then let it do TASK and print the result."""
    config = options.load(
        {
            **options.llm(model, engine, accelerator, context, base_url),
            ("llm", "temperature"): temperature,
            ("run", "max_steps"): max_steps,
            ("run", "max_tokens"): max_tokens,
            ("run", "max_seconds"): max_seconds,
            ("workspace_root",): workspace,
            ("locked",): locked,
        }
    )
    live = output.Live(shown=not as_json and sys.stdout.isatty())
    result = _run(options.parts(config), _text(task), live)
    if as_json:
        output.data(document(**result.as_dict()))
    elif result.error is None:
        live.end(result.text)
    else:
        output.error(told(result.error), as_json=False)
    return result.exit_code


def _text(task: str) -> str:
    from concierge.errors import UsageError

    text = sys.stdin.read() if task == "-" else task
    if not text.strip():
        raise UsageError("The task is empty.", where="TASK", hint='Say what to do: concierge run "…".')
    return text


def _run(parts: Stack, text: str, live: output.Live) -> RunResult:
    import asyncio

    from concierge.river import wiring

    served = wiring.serve(parts)
    from concierge.agent.task import Task

    config = parts.config
    task = Task(
        text,
        served.endpoint.model,
        limits=config.run,
        offer_tools=served.tools,
        temperature=config.llm.temperature,
    )
    try:
        return asyncio.run(
            wiring.converse(parts, served.endpoint, task, _Narrator(parts, live).event, on_delta=live.piece)
        )
    except KeyboardInterrupt:
        # What this command started for itself goes with it; a server that was there before stays.
        if served.started:
            from concierge.server.stop import down

            down(parts.home, say=parts.say, drain_s=0)
        raise


class _Narrator:
    """Tells the person who waits what the run does."""

    def __init__(self, parts: Stack, live: output.Live) -> None:
        self._parts = parts
        self._live = live

    def event(self, event: Event) -> None:
        if event.kind == "run_started":
            self._parts.say(f"Run {event.id} in {self._parts.config.workspace_root / 'runs' / event.id}")
        elif event.kind == "tool_called":
            self._live.interrupt()
            self._parts.say(f"  {getattr(event, 'tool', '')} {getattr(event, 'arguments', '')}"[:200])


@group.command("list")
def list_runs(
    *,
    workspace: options.Workspace = None,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="The newest N only.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the runs, newest first."""
    config = options.load({("workspace_root",): workspace})
    from concierge.agent import runs

    found = runs.list_runs(config.workspace_root, limit=limit)
    if as_json:
        output.data(document(runs=[summary.as_dict() for summary in found]))
        return
    for summary in found:
        first = summary.task.strip().splitlines()[0] if summary.task.strip() else ""
        output.result(f"{summary.id}  {summary.result.status:<11}  {first[:80]}")
    if not found:
        output.narrate(f"No runs below {config.workspace_root / 'runs'}.")


@group.command("show")
def show(
    run_id: Annotated[str, typer.Argument(help="The run's name, as `runs list` prints it.")],
    *,
    workspace: options.Workspace = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one run: its task, its result and everything that happened in it."""
    config = options.load({("workspace_root",): workspace})
    from concierge.agent import runs

    record = runs.read_run(config.workspace_root, run_id)
    if as_json:
        output.data(document(**record.as_dict()))
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


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    model: options.Model = None,
    engine: options.Engine = None,
    accelerator: options.Accelerator = None,
    context: options.Context = None,
    base_url: options.BaseUrl = None,
    locked: options.Locked = None,
    workspace: options.Workspace = None,
) -> None:
    """Serve the HTTP API: make sure that a local LLM answers, then take tasks."""
    config = options.load(
        {
            **options.llm(model, engine, accelerator, context, base_url),
            ("api", "host"): host,
            ("api", "port"): port,
            ("workspace_root",): workspace,
            ("locked",): locked,
        }
    )
    from concierge.cli import serving

    serving.serve(options.parts(config))
