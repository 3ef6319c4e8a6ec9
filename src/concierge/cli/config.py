"""``concierge config``: what holds, and a file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from concierge.cli import options, output

group = typer.Typer(help="Show or make the configuration.", no_args_is_help=True, rich_markup_mode=None)


@group.command("show")
def show(*, as_json: options.AsJson = False) -> None:
    """Print every key with its value and the place that set it; fail when one is wrong."""
    from concierge.cli import reference

    rows = reference.effective()
    if as_json:
        output.data(keys=[row.as_dict() for row in rows])
        return
    width = max(len(row.key) for row in rows)
    for row in rows:
        output.result(f"{row.key:<{width}}  {row.shown}  ({row.place})")


@group.command("init")
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("concierge.toml"),
    *,
    as_json: options.AsJson = False,
) -> None:
    """Write a concierge.toml that holds every key of a project with its default, commented out. Never overwrites."""
    from concierge.cli import reference
    from concierge.errors import ConfigError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(reference.template())
    except FileExistsError:
        raise ConfigError(f"{path} exists and is left as it is.", where=str(path), hint="Name another file.") from None
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror}.", where=str(path)) from None
    if as_json:
        output.data(written=str(path))
    else:
        output.narrate(f"Wrote {path}.")


@group.command("set")
def set_key(
    key: Annotated[str, typer.Argument(help="The key, such as llm.model.")],
    value: Annotated[str, typer.Argument(help="Its value; numbers and lists as in JSON.")],
    *,
    user: Annotated[bool, typer.Option("--user", help="In your own concierge.toml instead of the project's.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Set a key in this project's concierge.toml, or in your own where there is none; the rest of it stays."""
    file = options.river({}).set_key(key, value, user=user)
    if as_json:
        output.data(written=str(file))
    else:
        output.narrate(f"Set {key} in {file}.")
