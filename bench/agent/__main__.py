"""How many small file tasks an agent solves with a small model, and what that costs.

    python -m bench.agent MODEL.gguf|NAME [--peer mini|smolagents] [--protocol P ...] [--only KIND|NAME ...]

Each task gets a fresh folder. What is in the folder and in the answer afterwards is all that is judged. A peer runs
what the model writes, so it runs in bubblewrap, and sees one folder that it may write to.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.agent import peers, report
from bench.agent.driver import Bounds, Driver
from bench.agent.ours import Concierge, MisusedError
from bench.agent.report import Tried
from bench.agent.server import CONTEXT, Served, serving
from bench.agent.task import Outcome, Task, lay
from bench.agent.tasks import TASKS
from concierge import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ANSWER_KEPT = 2000
"""Characters of an answer that a result keeps."""


@dataclass(frozen=True, slots=True)
class Contender:
    """An agent as it is asked for: by name, release and protocol."""

    name: str
    release: str
    protocol: str | None
    driver: Driver


def attempt(task: Task, driver: Driver, place: Path, *, number: int = 1) -> Tried:
    """Let the driver do a task in a fresh folder, and judge what is there then."""
    folder = Path(tempfile.mkdtemp(prefix="task-", dir=place))
    try:
        lay(task, folder)
        ran = driver.run(task.request, folder)
        reason = task.check(Outcome(folder, ran.answer))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Tried(task=task.name, kind=task.kind, number=number, reason=reason, ran=ran)


def chosen(only: Sequence[str]) -> list[Task]:
    """Return the tasks of these kinds or names; all when none is named."""
    return [task for task in TASKS if not only or task.kind in only or task.name in only]


@contextlib.contextmanager
def contender(options: argparse.Namespace, protocol: str | None, served: Served, place: Path) -> Iterator[Contender]:
    """Give the agent that is asked for."""
    bounds = Bounds(steps=options.steps, seconds=options.seconds)
    if options.peer is None:
        ours = Concierge(place=place, bounds=bounds, settings=served.settings, protocol=protocol)
        yield Contender("concierge", __version__, protocol, ours)
        return
    peer = peers.PEERS[options.peer]
    spoken = protocol or peer.protocols[0]
    python = peers.environment(options.peers or peers.cache())
    with peers.driver(
        options.peer,
        served.endpoint,
        protocol=spoken,
        place=place,
        bounds=bounds,
        python=python,
        unconfined=options.unconfined,
    ) as driver:
        yield Contender(peer.package, peers.version(peer, python), spoken, driver)


def measure(
    agent: Contender, tasks: Sequence[Task], place: Path, *, repeat: int, keep: Callable[[Sequence[Tried]], None]
) -> list[Tried]:
    """Let the agent do every task, and hand over what is there after each."""
    # The server reads what every task begins with once, and not in the first task's time.
    attempt(tasks[0], agent.driver, place)
    tries: list[Tried] = []
    for number in range(1, repeat + 1):
        for task in tasks:
            tried = attempt(task, agent.driver, place, number=number)
            tries.append(tried)
            mark = "solved" if tried.solved else "FAILED"
            print(f"{mark}  {tried.ran.seconds:5.1f} s  {tried.task}", file=sys.stderr, flush=True)
            keep(tries)
    return tries


def facts(agent: Contender, served: Served, bounds: Bounds) -> dict[str, object]:
    """Return what a result must say to be compared with another one."""
    return {
        "agent": agent.name,
        "release": agent.release,
        "protocol": agent.protocol,
        "model": served.endpoint.model,
        "model_sha256": served.model_sha256,
        "engine": served.engine,
        "context": CONTEXT,
        "steps_at_most": bounds.steps,
        "seconds_at_most": bounds.seconds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def run(options: argparse.Namespace, protocol: str | None, served: Served, place: Path) -> None:
    """Measure one agent and print its table."""
    with contender(options, protocol, served, place) as agent:
        what = facts(agent, served, Bounds(steps=options.steps, seconds=options.seconds))

        def keep(tries: Sequence[Tried]) -> None:
            if options.out is not None:
                options.out.write_text(report.document(what, tries), encoding="utf-8")

        tries = measure(agent, chosen(options.only), place, repeat=options.repeat, keep=keep)
    if options.json:
        print(report.document(what, tries), end="")
        return
    spoken = f", protocol {agent.protocol}" if agent.protocol else ""
    print(f"\n{report.table(f'{agent.name} {agent.release}{spoken}, {served.endpoint.model}', tries)}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.agent", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a GGUF file, or a name of the catalogue")
    parser.add_argument("--peer", choices=sorted(peers.PEERS), help="measure this agent instead of concierge")
    parser.add_argument("--protocol", nargs="+", default=[None], help="how the model is offered tools; each in turn")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND|NAME", help="these tasks alone")
    parser.add_argument("--repeat", type=int, default=1, help="tries at each task")
    parser.add_argument("--steps", type=int, default=Bounds().steps, help="answers that the model may give in a task")
    parser.add_argument("--seconds", type=float, default=Bounds().seconds, help="wall time that a task may take")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--out", type=Path, help="file to keep the JSON in, written after each task")
    parser.add_argument("--peers", type=Path, help="folder to keep the peers' environment in")
    parser.add_argument("--unconfined", action="store_true", help="run a peer without bubblewrap")
    options = parser.parse_args()
    if not chosen(options.only):
        parser.error(f"no task is called {' or '.join(options.only)}")
    return options


def main() -> int:
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as named, serving(options.model, Path(named)) as served:
        for protocol in options.protocol:
            try:
                run(options, protocol, served, Path(named))
            except (MisusedError, peers.NoSandboxError) as error:
                print(error, file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
