"""``concierge up``, ``status`` and ``down``: the local LLM itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concierge.cli import options, output
from concierge.errors import ServerError, UsageError

if TYPE_CHECKING:
    from concierge.endpoint import Endpoint
    from concierge.server.status import ServerStatus


@options.settings(*options.LLM, "mirror", "locked", "trust")
def up(chosen: dict[str, Any], *, as_json: options.AsJson = False) -> None:
    """Bring this machine to the declared state: engine and model in the store, the server up."""
    river = options.river(chosen)
    if not river.config.locked:
        river.lock_first()
    endpoint = river.up()
    if as_json:
        output.data(**_endpoint(endpoint), started=river.started)
        return
    verb = "started" if river.started else "up already" if endpoint.owned else "adopted"
    output.narrate(f"The server is {verb}.")
    output.result(f"{endpoint.base_url}  {endpoint.model}")


@options.settings("base_url")
def status(chosen: dict[str, Any], *, as_json: options.AsJson = False) -> int:
    """Say what serves the model now: 0 when a server is ready, 5 when none is. Changes nothing."""
    seen = options.river(chosen).status()
    if as_json:
        output.data(**seen.as_dict())
    else:
        for line in _told(seen):
            output.result(line)
    return 0 if seen.usable else ServerError.exit_code


@options.settings("model", "engine", "accelerator", "context", "locked", "trust")
def tune(
    chosen: dict[str, Any],
    *,
    seconds: Annotated[float, typer.Option(min=1, help="After so many, nothing else is tried.")] = 300.0,
    as_json: options.AsJson = False,
) -> None:
    """Measure this machine with the real engine, and keep the settings that serve best."""
    river = options.river(chosen)
    found = river.tune(seconds=seconds)
    if as_json:
        output.data(**asdict(found))
        return
    if not found.whole:
        output.narrate(f"Not everything was tried within {seconds:g} s.")
    before, after = found.before, found.after
    for name, was, now in (("written", before.written, after.written), ("read", before.read, after.read)):
        output.result(f"{name:<8} {now:.1f} tokens/s, {was:.1f} as planned")
    planned = dict(before.parameters)
    changed = [f"{name} {value}" for name, value in after.parameters if planned.get(name) != value]
    output.result(f"kept     {', '.join(changed) or 'what was planned'}")


def down(
    *,
    drain: Annotated[float | None, typer.Option(min=0, help="Seconds that an answer in progress may take.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Stop the server that concierge started, and wait until it is gone. Touches no other process."""
    stopped = options.river({}).down(drain_s=drain)
    if as_json:
        output.data(stopped=None if stopped is None else asdict(stopped))
    elif stopped is None:
        output.narrate("No server of ours runs.")
    else:
        output.narrate(f"Stopped {stopped.model} (process {stopped.pid}).")


def logs(
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of its end.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what it writes, until it ends.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print what the server that concierge started last has written."""
    if follow and as_json:
        raise UsageError("--follow prints lines, and --json one object.", where="logs", hint="Leave one of them out.")
    log = options.river({}).log()
    if as_json:
        output.data(log=str(log.path), model=log.model, lines=log.tail(lines))
        return
    output.narrate(f"The log is {log.path}.")
    for line in log.tail(lines):
        output.result(line)
    if follow:
        for line in log.follow():
            output.result(line)
        output.narrate("The server has ended.")


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return what a client must know, without the key."""
    return {
        "base_url": endpoint.base_url,
        "model": endpoint.model,
        "dialect": endpoint.dialect,
        "owned": endpoint.owned,
        "context": endpoint.context,
    }


def _told(seen: ServerStatus) -> list[str]:
    lines = [f"ours        {seen.state}" + (f", {seen.model}" if seen.model else "")]
    if seen.base_url:
        answers = "answers" if seen.answers else "does not answer"
        lines.append(f"            {seen.base_url} {answers}, context {seen.context}, process {seen.pid}")
    if seen.log and seen.state != "ready":
        lines.append(f"            log: {seen.log}")
    lines += [f"            used by {user}" for user in seen.users]
    for other in seen.others:
        lines.append(f"beside it   {other.model}, {other.base_url}, context {other.context}, process {other.pid}")
    beside = seen.configured
    if beside is not None:
        state = "on another machine, not asked" if beside.presence is None else beside.presence
        models = f": {', '.join(beside.models[:8])}" if beside.models else ""
        lines.append(f"configured  {beside.base_url} {state}{models}")
    if seen.protocol is not None:
        from concierge.server.capabilities import ACTS

        lines.append(f"acts        {ACTS[seen.protocol]}")
    if seen.generation is not None:
        lines.append(f"generation  {seen.generation}")
    lines += [f"drift       {drift}" for drift in seen.drift]
    return lines
