"""``concierge plan``, ``lock``, ``doctor``, ``models`` and ``engines``: what this machine is and what belongs on it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # typer reads the annotations
from typing import Annotated, Any

import typer

from concierge.cli import options, output
from concierge.errors import UsageError
from concierge.units import human

Capture = Annotated[
    Path | None, typer.Option("--capture", help="Write what the probe saw to this file, for a bug report.")
]


@options.settings(*options.LLM, "locked", "trust")
def plan(
    chosen: dict[str, Any],
    *,
    machine: options.Machine = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 when something would change.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Show what `concierge up` would do, and why. Changes nothing."""
    decided = options.river(chosen, machine=machine).plan()
    from concierge.plan import render

    if as_json:
        output.data(**render.as_dict(decided))
    else:
        output.result(render.text(decided))
    return render.exit_code(decided) if detailed_exitcode else 0


@options.settings("model", "engine", "accelerator", "context", "trust")
def lock(
    chosen: dict[str, Any],
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 when it is not current.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
    upgrade: Annotated[
        list[str] | None, typer.Option("--upgrade", metavar="NAME", help="Move this model or engine only.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Write concierge.lock: what the configuration resolves to, for every system and accelerator at once."""
    if check and (diff or upgrade):
        raise UsageError("--check looks at all of the lock.", where="lock", hint="Leave out --diff and --upgrade.")
    river = options.river(chosen)
    if diff:
        moved = river.lock_diff(upgrade=upgrade or ())
        if as_json:
            output.data(differences=[asdict(difference) for difference in moved])
        for difference in [] if as_json else moved:
            output.result(difference.moved)
        return 0
    if not check:
        written = river.lock(upgrade=upgrade or ())
        if as_json:
            output.data(written=str(written))
        return 0
    differences = river.check_lock()
    if as_json:
        output.data(current=not differences, differences=[asdict(difference) for difference in differences])
        return 1 if differences else 0
    for difference in differences:
        output.result(str(difference))
    if not differences:
        output.narrate("concierge.lock is current.")
    return 1 if differences else 0


@options.settings("locked", "trust")
def doctor(
    chosen: dict[str, Any],
    *,
    capture: Capture = None,
    machine: options.Machine = None,
    as_json: options.AsJson = False,
) -> int:
    """Say what this machine is and what is wrong with it; end with 1 when the plan relies on something wrong."""
    if capture is not None:
        if machine is not None:
            raise UsageError("--capture asks this machine, --machine another one: take one of them.")
        return _capture(capture, as_json=as_json)
    river = options.river(chosen, machine=machine)
    findings = river.diagnose()
    from concierge.machine import report
    from concierge.plan.doctor import exit_code

    if as_json:
        output.data(machine=river.judged.as_dict(), findings=[finding.as_dict() for finding in findings])
        return exit_code(findings)
    for line in (*report.describe(river.judged), *(line for f in findings for line in report.describe_finding(f))):
        output.result(line)
    if not findings:
        output.result("No findings.")
    return exit_code(findings)


@options.settings("context", "locked", "trust")
def models(chosen: dict[str, Any], *, machine: options.Machine = None, as_json: options.AsJson = False) -> None:
    """List the models of the catalogue: what fits here, how fast it would be, and why not."""
    rows = options.river(chosen, machine=machine).models()
    if as_json:
        output.data(models=[asdict(row) for row in rows])
        return
    table = [("", "MODEL", "EVIDENCE", "DOWNLOAD", "MEMORY", "TOKENS/S", "LICENCE", "")]
    for row in rows:
        speed = "unknown" if row.slow is None or row.fast is None else f"{row.slow:.0f}-{row.fast:.0f}"
        memory = "unknown" if row.memory is None else human(row.memory)
        evidence = row.evidence[0] if row.evidence else "none"
        size = human(row.size)
        table.append((_mark(fits=row.fits), row.name, evidence, size, memory, speed, row.licence, row.reason))
    _print(table)


@options.settings("locked", "trust")
def engines(chosen: dict[str, Any], *, machine: options.Machine = None, as_json: options.AsJson = False) -> None:
    """List the engine builds for this system: which run here, and why the others do not."""
    rows = options.river(chosen, machine=machine).engines()
    if as_json:
        output.data(engines=[asdict(row) for row in rows])
        return
    if not rows:
        output.narrate("The catalogue has no engine for this system.")
        return
    table = [("", "ENGINE", "ACCELERATOR", "DOWNLOAD", "LICENCE", "")]
    table += [
        (_mark(fits=row.fits), row.name, row.accelerator, human(row.size), row.licence, row.reason) for row in rows
    ]
    _print(table)


@options.settings("mirror", "trust")
def bundle(
    chosen: dict[str, Any],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it; what is there and whole stays.")],
    *,
    system: Annotated[
        list[str] | None, typer.Option("--system", help="Only this system's engines, such as x86_64-linux.")
    ] = None,
    accelerator: Annotated[
        list[str] | None, typer.Option("--accelerator", help="Only engines for this: cuda, rocm, vulkan, metal, cpu.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring all that concierge.lock pins into a folder, for machines without a network: `up --mirror DIR`."""
    made = options.river(chosen).bundle(folder, systems=system or (), accelerators=accelerator or ())
    if as_json:
        output.data(written=str(folder), **asdict(made))
        return
    for name in made.left_out:
        output.narrate(f"{name} comes from Nix alone and is left out.")
    output.narrate(f"{made.files} files, {made.brought} of them new ({human(made.bytes)}).")
    output.result(str(folder))


def trust(
    *,
    show: Annotated[bool, typer.Option("--list", help="Change nothing.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take it back: the next command asks again.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Allow what this project's files ask for: commands, flakes, models and engines that concierge does not know.

    It is named in full, and allowed exactly as it stands now: what changes is asked for again.
    """
    if show and revoke:
        raise UsageError("--list changes nothing, --revoke does: take one of them.")
    gate = options.river({}).gate
    if revoke:
        gate.forget()
    elif not show:
        gate.allow()
    requests, allowed = gate.requests(), gate.open()
    if as_json:
        output.data(requests=[asdict(request) for request in requests], allowed=allowed)
        return
    for request in requests:
        output.result(f"{request.place}: {request.what}")
    said = "Allowed, exactly as it stands." if allowed else "Not allowed."
    output.narrate(said if requests else "This project asks for nothing that needs it.")


def _capture(file: Path, *, as_json: bool) -> int:
    from concierge.machine.capture import probe

    try:
        probe.save(probe.capture(), file)
    except OSError as error:
        hint = "Name a file in a folder that you can write to."
        raise UsageError(f"Cannot write {file}: {error.strerror}.", where="--capture", hint=hint) from None
    output.narrate(f"Wrote {file}. It holds no user, host or serial names; have a look before you attach it.")
    if as_json:
        output.data(written=str(file))
    return 0


def _print(table: list[tuple[Any, ...]]) -> None:
    widths = [max(len(str(row[column])) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = (f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True))
        output.result("  ".join(cells).rstrip())


def _mark(*, fits: bool) -> str:
    return "✓" if fits else "✗"
