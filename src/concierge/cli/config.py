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
