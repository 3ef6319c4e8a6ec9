"""``concierge plan``, ``lock``, ``doctor``, ``models`` and ``engines``: what this machine is and what belongs on it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # typer reads the annotations
from typing import Annotated, Any

import typer

from concierge.cli import options, output
from concierge.errors import UsageError

Machine = Annotated[
    Path | None, typer.Option("--machine", help="Decide for the computer of this bundle instead of this one.")
]


def plan(
    *,
    model: options.Model = None,
    engine: options.Engine = None,
    accelerator: options.Accelerator = None,
    context: options.Context = None,
    base_url: options.BaseUrl = None,
    locked: options.Locked = None,
    machine: Machine = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 when something would change.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Show what `concierge up` would do, and why. Changes nothing."""
    config = options.load({**options.llm(model, engine, accelerator, context, base_url), ("locked",): locked})
    from concierge.plan import render
    from concierge.river import wiring

    parts = options.parts(config, bundle=machine)
    decided = parts.plan(wiring.here(parts))
    if as_json:
        output.data(render.as_dict(decided))
    else:
        output.result(render.text(decided))
    return render.exit_code(decided) if detailed_exitcode else 0


def lock(
    *,
    model: options.Model = None,
    engine: options.Engine = None,
    accelerator: options.Accelerator = None,
    context: options.Context = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 when it is not current.")] = False,
    as_json: options.AsJson = False,
) -> int:
    """Write concierge.lock: what the configuration resolves to, for every system and accelerator at once."""
    config = options.load(options.llm(model, engine, accelerator, context, None))
    from concierge.river import locking

    if check:
        differences = locking.check(config, output.narrate)
        if as_json:
            output.data({"current": not differences, "differences": [asdict(d) for d in differences]})
        for difference in () if as_json else differences:
            output.result(str(difference))
        if not differences and not as_json:
            output.narrate("concierge.lock is current.")
        return 1 if differences else 0
    written = locking.write(config, output.narrate)
    if as_json:
        output.data({"written": str(written)})
    return 0


def doctor(
    *,
    capture: Annotated[
        Path | None, typer.Option("--capture", help="Write what the probe saw to this file, for a bug report.")
    ] = None,
    machine: Machine = None,
    locked: options.Locked = None,
    as_json: options.AsJson = False,
) -> int:
    """Say what this machine is and what is wrong with it; end with 1 when the plan relies on something wrong."""
    if capture is not None:
        if machine is not None:
            raise UsageError("--capture asks this machine, --machine another one: take one of them.")
        return _capture(capture, as_json=as_json)
    config = options.load({("locked",): locked})
    from concierge.plan import doctor as doctors
    from concierge.river import wiring

    parts = options.parts(config, bundle=machine)
    findings = wiring.diagnose(parts)
    if as_json:
        output.data({"machine": parts.machine.as_dict(), "findings": [finding.as_dict() for finding in findings]})
        return doctors.exit_code(findings)
    from concierge.machine import report

    for line in report.describe(parts.machine):
        output.result(line)
    for finding in findings:
        for line in report.describe_finding(finding):
            output.result(line)
    if not findings:
        output.result("No findings.")
    return doctors.exit_code(findings)


def models(
    *,
    machine: Machine = None,
    context: options.Context = None,
    locked: options.Locked = None,
    as_json: options.AsJson = False,
) -> None:
    """List the models of the catalogue: what fits here, how fast it would be, and why not."""
    config = options.load({("llm", "context"): context, ("locked",): locked})
    from concierge.plan import listing
    from concierge.units import human

    parts = options.parts(config, bundle=machine)
    rows = listing.models(parts.machine, parts.offered, config.llm)
    if as_json:
        output.data([asdict(row) for row in rows])
        return
    table = [("", "MODEL", "DOWNLOAD", "MEMORY", "TOKENS/S", "LICENCE", "")]
    for row in rows:
        speed = "unknown" if row.slow is None or row.fast is None else f"{row.slow:.0f}-{row.fast:.0f}"
        memory = "unknown" if row.memory is None else human(row.memory)
        table.append(("✓" if row.fits else "✗", row.name, human(row.size), memory, speed, row.licence, row.reason))
    _print(table)


def engines(*, machine: Machine = None, locked: options.Locked = None, as_json: options.AsJson = False) -> None:
    """List the engine builds for this system: which run here, and why the others do not."""
    config = options.load({("locked",): locked})
    from concierge.plan import listing
    from concierge.units import human

    parts = options.parts(config, bundle=machine)
    rows = listing.engines(parts.machine, parts.offered)
    if as_json:
        output.data([asdict(row) for row in rows])
        return
    if not rows:
        output.narrate("The catalogue has no engine for this system.")
        return
    table = [("", "ENGINE", "ACCELERATOR", "DOWNLOAD", "LICENCE", "")]
    table += [
        ("✓" if row.fits else "✗", row.name, row.accelerator, human(row.size), row.licence, row.reason) for row in rows
    ]
    _print(table)


def _capture(file: Path, *, as_json: bool) -> int:
    from concierge.machine.capture import probe

    try:
        probe.save(probe.capture(), file)
    except OSError as error:
        hint = "Name a file in a folder that you can write to."
        raise UsageError(f"Cannot write {file}: {error.strerror}.", where="--capture", hint=hint) from None
    output.narrate(f"Wrote {file}. It holds no user, host or serial names; have a look before you attach it.")
    if as_json:
        output.data({"written": str(file)})
    return 0


def _print(table: list[tuple[Any, ...]]) -> None:
    widths = [max(len(str(row[column])) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = (f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True))
        output.result("  ".join(cells).rstrip())
