"""How good are our tests? Change a room's code in one place at a time and see whether its tests notice.

    ./bootstrap.sh test --mutate [ROOM …] [--sample N | --all] [--seed N] [--workers N]

Exit code 1 means: in a room, fewer changes were noticed than docs/testing.md promises.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.mutation.copy import copy_of, environment, run_inside
from tools.mutation.rooms import ROOMS, Room

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements-mutate.lock"
PROMISED = 80.0
"""Per cent."""


@dataclass(frozen=True)
class Outcome:
    """What became of a room's changes.

    Attributes:
        late: How many were noticed although no test ran the changed function in pytest's own process.
        survivors: The changes that nobody noticed, as diffs.
        seconds: How long it took on the wall's clock.
    """

    room: str
    possible: int
    tried: int
    late: int
    survivors: dict[str, str]
    seconds: float

    @property
    def killed(self) -> int:
        return self.tried - len(self.survivors)

    @property
    def per_cent(self) -> float:
        return 100 * self.killed / self.tried if self.tried else 100.0


def main(words: list[str]) -> int:
    """Try the rooms that were asked for, print every change that nobody noticed, then the table."""
    asked = _read(words)
    library = _library(Path(sys.prefix) / "mutation")
    outcomes = []
    for name in asked.rooms or ROOMS:
        outcomes.append(_try(ROOMS[name], library, asked))
        for diff in outcomes[-1].survivors.values():
            sys.stdout.write(f"\n{diff}\n")
    sys.stdout.write(table(outcomes, asked.seed))
    return int(any(outcome.per_cent < PROMISED for outcome in outcomes))


def _read(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./bootstrap.sh test --mutate", description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)} (default: all of them)")
    parser.add_argument("--sample", type=int, metavar="N", help="try N changes per room (default: six minutes' worth)")
    parser.add_argument("--all", action="store_const", const=0, dest="sample", help="try every change")
    parser.add_argument("--seed", default="1", metavar="N", help="another seed tries other changes (default: 1)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), metavar="N")
    asked = parser.parse_args(words)
    for unknown in set(asked.rooms) - set(ROOMS):
        parser.error(f"there is no room {unknown}; there are {', '.join(ROOMS)}")
    return asked


def _library(folder: Path) -> Path:
    """Install mutmut beside the environment, where nothing else sees it; once per lock."""
    stamp = folder / LOCK.name
    if not (stamp.is_file() and filecmp.cmp(LOCK, stamp, shallow=False)):
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        exact = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(folder), "-r", str(LOCK)]
        if subprocess.run([*pip, *exact], check=False, timeout=600).returncode:
            sys.exit("mutate: mutmut could not be installed; pip says why above.")
        shutil.copyfile(LOCK, stamp)
    return folder


def _try(room: Room, library: Path, asked: argparse.Namespace) -> Outcome:
    sample = room.sample if asked.sample is None else asked.sample
    sys.stderr.write(f"mutate: {room.name}: trying {sample or 'all'} changes\n")
    began = time.monotonic()
    with copy_of(REPOSITORY, room) as copy:
        words = [str(sample), asked.seed, str(asked.workers), *room.tests]
        code = run_inside(copy, words, environment(copy, library))
        answer = copy / "outcomes.json"
        if code or not answer.is_file():
            sys.exit(f"{_end(copy.parent / 'log')}\nmutate: {room.name} could not be tried; its log ends as above.")
        found = Outcome(room.name, **json.loads(answer.read_bytes()), seconds=time.monotonic() - began)
    sys.stderr.write(f"mutate: {room.name}: {found.killed} of {found.tried} noticed, {found.late} of them late\n")
    return found


def _end(log: Path) -> str:
    """Return the end of what was said, without what was only drawn for a moment."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines)[-4000:]


def table(outcomes: list[Outcome], seed: str) -> str:
    """Render the outcomes as the table that stands in docs/testing.md."""
    lines = ["", "| room | possible changes | tried | noticed | per cent | seconds |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {one.room} | {one.possible} | {one.tried} | {one.killed} | {one.per_cent:.0f} | {one.seconds:.0f} |"
        for one in outcomes
    ]
    return "\n".join([*lines, "", f"seed {seed}", ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
