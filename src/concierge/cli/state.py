"""``concierge verify``, ``generations``, ``rollback``, ``gc`` and ``destroy``: what was brought up here."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from concierge.cli import options, output
from concierge.errors import UsageError, VerifyError
from concierge.units import human

if TYPE_CHECKING:
    from concierge.river.history import Row


def verify(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything in the store, not only what is current.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Read every byte again that the current generation needs, and print the state digest; 4 when something differs."""
    found = options.river({}).state.verify(everything=everything)
    if as_json:
        output.data(**found.as_dict())
    else:
        for fault in found.faults:
            output.result(str(fault))
        if found.faults:
            output.narrate("`concierge up` puts right what the current generation needs.")
        else:
            output.narrate(f"{len(found.entries)} entries of the store are as they were brought.")
        if found.digest is not None:
            output.result(found.digest)
    return VerifyError.exit_code if found.faults else 0


def generations(*, as_json: options.AsJson = False) -> None:
    """List what was applied here, oldest first, with what differs from one to the next."""
    rows = options.river({}).state.generations()
    if as_json:
        output.data(generations=[asdict(row) for row in rows])
        return
    if not rows:
        output.narrate("Nothing was brought up here yet.")
    for row in rows:
        for line in _told(row):
            output.result(line)


def rollback(
    number: Annotated[
        int | None, typer.Argument(help="The generation; the one before the current, if left out.")
    ] = None,
    *,
    as_json: options.AsJson = False,
) -> None:
    """Go back to an earlier generation without a download; the next `up` or `run` starts its server."""
    done = options.river({}).state.rollback(number)
    if as_json:
        output.data(**asdict(done))
        return
    if done.stopped is not None:
        output.narrate(f"Stopped {done.stopped.model} (process {done.stopped.pid}).")
    output.result(f"Generation {done.generation}: {done.model} with {done.context} tokens, on {done.build}.")


def gc(
    *,
    keep: Annotated[
        int | None, typer.Option(min=0, help="Keep only so many generations, the newest; all, if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Remove what no generation and no lock needs any more."""
    found = options.river({}).state.gc(keep=keep, dry_run=dry_run)
    total = sum(each.bytes for each in found)
    if as_json:
        removed = [asdict(each) | {"path": str(each.path)} for each in found]
        output.data(removed=removed, bytes=total, dry_run=dry_run)
        return
    for each in found:
        output.result(f"{each.kind:<10}  {human(each.bytes):>9}  {each.path}")
    verb = "Would remove" if dry_run else "Removed"
    output.narrate(f"{verb} {len(found)}, {human(total)}." if found else "There is nothing to remove.")


def destroy(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Stop the server and remove everything that concierge made in its home; what is yours stays."""
    state = options.river({}).state
    if not yes:
        _ask(str(state.parts.home.root), as_json=as_json)
    done = state.destroy()
    if as_json:
        output.data(**asdict(done))
        return
    if done.stopped is not None:
        output.narrate(f"Stopped {done.stopped.model} (process {done.stopped.pid}).")
    output.narrate(f"Removed {human(done.bytes)} in {done.home}.")
    for left in done.left:
        output.narrate(f"Left: {left} is not concierge's.")
    for runs in done.runs:
        output.narrate(f"Left: {runs} holds your runs.")


def _ask(home: str, *, as_json: bool) -> None:
    """Have a person say yes.

    Raises:
        UsageError: Nobody did.
    """
    if as_json or not sys.stdin.isatty():
        raise UsageError("`destroy` asks first, and nobody is there to answer.", hint="Add --yes.")
    output.narrate(f"This stops the server and removes {home}: engines, models, generations, what was allowed.")
    output.narrate("Type yes to go on:")
    if sys.stdin.readline().strip() != "yes":
        raise UsageError("Nothing was removed.")


def _told(row: Row) -> list[str]:
    mark = "*" if row.current else " "
    if row.build is None:
        return [f"{mark} {row.number:<4} {row.made}  cannot be read"]
    held = ", chosen by rollback" if row.held else ""
    lines = [f"{mark} {row.number:<4} {row.made}  {row.model}, {row.context} tokens, {row.build}{held}"]
    lines += [f"         {difference}" for difference in row.differs]
    if row.missing is not None:
        lines.append(f"         its bytes are gone or damaged: {row.missing}")
    return lines
