"""Runs contenders in turn, each in a process of its own, and compares their CPU time.

Ratios of one run on one machine mean something; absolute times do not. The least of several rounds is the one
that the rest of the machine disturbed least.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

ROOT = Path(__file__).parent.parent
ROUND_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Contender:
    """A name for the table and the command that prints its CPU seconds per unit."""

    name: str
    command: list[str]


@contextlib.contextmanager
def stub(*arguments: str) -> Iterator[str]:
    """Start the stub server in a process of its own and give its base URL."""
    command = [sys.executable, "-m", "bench.stub_llm", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def peers(folder: Path | None, *packages: str) -> Iterator[str]:
    """Give the Python of an environment that has the peers; made in ``folder`` once, or in a passing one."""
    if not packages:
        yield sys.executable
        return
    with contextlib.ExitStack() as stack:
        root = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        python = root / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        if not python.exists():
            venv.create(root, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        yield str(python)


async def cpu_seconds(call: Callable[[], Awaitable[object]], *, calls: int, warm_up: int) -> float:
    """Return the CPU time of one call, the connection being open."""
    for _ in range(warm_up):
        await call()
    began = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - began) / calls


def compare(contenders: list[Contender], *, rounds: int) -> dict[str, float]:
    """Run every contender once in each round; return the least of its figures."""
    best = {contender.name: float("inf") for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            output = subprocess.run(
                contender.command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                timeout=ROUND_LIMIT_S,
            ).stdout
            best[contender.name] = min(best[contender.name], float(output.split()[-1]))
    return best


def report(name: str, unit: str, figures: Mapping[str, float], *, base: str, target: float) -> bool:
    """Print a table and one JSON line; tell whether concierge meets its target."""
    ratios = {contender: seconds / figures[base] for contender, seconds in figures.items()}
    print(f"\n{name}: CPU per {unit}, and as a multiple of {base}\n")
    for contender, seconds in figures.items():
        print(f"  {contender:<28} {seconds * 1e6:>10.1f} µs {ratios[contender]:>8.2f} x")
    met = ratios["concierge"] <= target
    print(f"\n  concierge ≤ {target} x {base}: {'yes' if met else 'NO'}\n")
    rounded = {contender: round(ratio, 3) for contender, ratio in ratios.items()}
    print(json.dumps({"bench": name, "base": base, "target": target, "met": met, "ratios": rounded}))
    return met
