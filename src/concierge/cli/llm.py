"""``concierge up``, ``status`` and ``down``: the local LLM itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from concierge.cli import options, output

if TYPE_CHECKING:
    from concierge.endpoint import Endpoint
    from concierge.server.status import ServerStatus


def up(
    *,
    model: options.Model = None,
    engine: options.Engine = None,
    accelerator: options.Accelerator = None,
    context: options.Context = None,
    base_url: options.BaseUrl = None,
    locked: options.Locked = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring this machine to the declared state: engine and model in the store, the server up."""
    config = options.load({**options.llm(model, engine, accelerator, context, base_url), ("locked",): locked})
    from concierge.river import locking, wiring

    if not config.locked:
        locking.write_first(options.load({}), output.narrate)
    served = wiring.serve(options.parts(config))
    if as_json:
        output.data({**_endpoint(served.endpoint), "started": served.started})
        return
    verb = "started" if served.started else "up already" if served.endpoint.owned else "adopted"
    output.narrate(f"The server is {verb}.")
    output.result(f"{served.endpoint.base_url}  {served.endpoint.model}")


def status(
    *,
    base_url: options.BaseUrl = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what serves the model now. Changes nothing."""
    config = options.load({("llm", "base_url"): base_url})
    from concierge import paths
    from concierge.server.status import status as look

    seen = look(paths.home(), config.llm)
    if as_json:
        output.data(seen.as_dict())
        return
    for line in _told(seen):
        output.result(line)


def down(
    *,
    drain: Annotated[float | None, typer.Option(min=0, help="Seconds that an answer in progress may take.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Stop the server that concierge started, and wait until it is gone. Touches no other process."""
    from concierge import paths
    from concierge.server import stop

    stopped = stop.down(paths.home(), say=output.narrate, drain_s=stop.DRAIN_S if drain is None else drain)
    if as_json:
        output.data({"stopped": None if stopped is None else asdict(stopped)})
    elif stopped is None:
        output.narrate("No server of ours runs.")
    else:
        output.narrate(f"Stopped {stopped.model} (process {stopped.pid}).")


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
    beside = seen.configured
    if beside is not None:
        state = "on another machine, not asked" if beside.presence is None else beside.presence
        models = f": {', '.join(beside.models[:8])}" if beside.models else ""
        lines.append(f"configured  {beside.base_url} {state}{models}")
    return lines
