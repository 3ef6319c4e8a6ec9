"""SIGKILL at any call of a command that changes files or processes, and what the next command finds then.

    python -m tests.river.kill_points [--points 300] [--seed 0] [--workers 2]

strace counts the calls of a command that touch its home or another process, and kills it at the entry of one of them.
Only the command itself is watched (no ``-f``): the calls are then the same each time, and what it started lives on, as
it does when somebody kills a command. Afterwards the old state is there or the new one, no server is lost, the next
``up`` completes, and nothing is left lying about.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.deploy.generation import Generations
from concierge.files import remove
from concierge.store import manifest
from tests.river.rig import Rig, wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CALLS = (
    "openat,mkdir,rename,renameat,renameat2,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,utimensat,link,linkat,"
    "symlink,truncate,ftruncate,flock,fsync,write,clone,clone3,fork,vfork,execve,kill,pidfd_open,pidfd_send_signal,wait4"
)
PROCESS = re.compile(r"(clone|clone3|fork|vfork|execve|kill|pidfd_open|pidfd_send_signal|wait4)\(")
READS = re.compile(r"O_RDONLY(?!\|O_CREAT)")


@dataclass(frozen=True)
class Case:
    """A command that is killed, in a place that is made for it.

    Attributes:
        serves: A server runs before.
        words: What is killed, and in which project.
    """

    name: str
    make: Callable[[Rig], None]
    project: str
    words: tuple[str, ...]
    serves: tuple[str, ...] = ()


def nothing(rig: Rig) -> None:
    del rig


def brought(rig: Rig) -> None:
    for project in ("one", "other"):
        assert rig(rig.root / project, "up", "--locked")[0] == 0
    rig(rig.root, "down")


def damaged(rig: Rig) -> None:
    brought(rig)
    [model] = [path for path in rig.home.store.glob("*-model.gguf") if path.is_dir()]
    remove(model / "model.gguf")


def stray(rig: Rig) -> None:
    brought(rig)
    for letter in "abc":
        left = rig.home.store / f"{letter * 32}-left.gguf"
        left.mkdir()
        (left / "left.gguf").write_bytes(b"left")
        manifest.write(left, manifest.seal(left, {}))
        left.chmod(manifest.CLOSED)


CASES = (
    Case("cold up", nothing, "one", ("up", "--locked")),
    Case("up over damage", damaged, "other", ("up", "--locked")),
    Case("up instead of another", brought, "one", ("up", "--locked"), serves=("other",)),
    Case("warm up", brought, "other", ("up", "--locked"), serves=("other",)),
    Case("rollback", brought, "other", ("rollback",), serves=("other",)),
    Case("gc", stray, "other", ("gc", "--keep", "1")),
)


class Place:
    """A rig whose home is put back before each kill."""

    def __init__(self, root: Path) -> None:
        build = wheel()
        assert build is not None
        self.rig = Rig(root / "rig", build)
        for name, context in (("one", 8192), ("other", 1024)):
            self.rig.project(name, context=context)
        self._kept = root / "kept"
        self._trace = root / "trace"

    def keep(self, case: Case) -> None:
        """Make the place of a case, once."""
        kept = self._kept / case.name.replace(" ", "-")
        if not kept.exists():
            self._put(None)
            case.make(self.rig)
            shutil.copytree(self.rig.home.root, kept, symlinks=True)

    def ready(self, case: Case) -> None:
        """Put a home back as the case needs it."""
        self.rig(self.rig.root, "down", "--drain", "0")
        self._put(self._kept / case.name.replace(" ", "-"))
        for project in case.serves:
            assert self.rig(self.rig.root / project, "up", "--locked")[0] == 0

    def _put(self, kept: Path | None) -> None:
        remove(self.rig.home.root)
        if kept is None:
            self.rig.home.root.mkdir()
        else:
            shutil.copytree(kept, self.rig.home.root, symlinks=True)

    def run(self, case: Case, *inject: str) -> tuple[int, str, str]:
        through = ("strace", "-qq", "-y", "-o", str(self._trace), "-e", f"trace={CALLS}", *inject)
        return self.rig(self.rig.root / case.project, *case.words, through=through)

    def points(self, case: Case) -> list[tuple[str, int]]:
        """Return each call of a case that changes something, as strace counts it."""
        self.ready(case)
        code, _, err = self.run(case)
        assert code == 0, err
        counted: Counter[str] = Counter()
        found = []
        for line in self._trace.read_text(errors="replace").splitlines():
            name = line.partition("(")[0]
            counted[name] += 1
            ours = str(self.rig.root) in line and not (name == "openat" and READS.search(line))
            if ours or PROCESS.match(line):
                found.append((name, counted[name]))
        return found[1:]  # the first is the start of the command itself

    def harm(self, case: Case, point: tuple[str, int]) -> list[str]:
        """Kill a case at a point, and return what is wrong then."""
        self.ready(case)
        old = state(self.rig)
        name, number = point
        code, _, _ = self.run(case, "-e", f"inject={name}:signal=KILL:when={number}")
        return [f"{case.name}, {name} {number} ({code}): {line}" for line in self._wrong(case, old)]

    def _wrong(self, case: Case, old: str) -> Iterator[str]:
        rig, folder = self.rig, self.rig.root / case.project
        now = state(rig)
        servers = rig.servers()
        yield from between(rig)
        code, _, err = rig(folder, "up", "--locked")
        if code != 0 or "has a bug" in err:
            yield f"the next up ended with {code}: {err}"
        if len(rig.servers()) != 1:
            yield f"{len(rig.servers())} servers run, {len(servers)} before"
        answered = state(rig)
        if now not in (old, answered) and case.name != "rollback":
            yield f"{now} is neither {old} nor {answered}"
        if case.name == "rollback" and (now, answered) not in (("2", "2"), ("1", "1")):
            yield f"{now} after the kill, {answered} after the next up"
        yield from (f"left: {path}" for path in strays(rig))
        code, out, _ = rig(folder, "verify", "--all")
        if code != 0:
            yield f"verify: {out}"
        code, out, _ = rig(folder, "status")
        if code != 0 or "drift" in out:
            yield f"status: {out}"


def state(rig: Rig) -> str:
    try:
        return rig.home.current.read_text().partition("\n")[0]
    except FileNotFoundError:
        return ""


def between(rig: Rig) -> Iterator[str]:
    """Yield what is neither old nor new: a pointer that points nowhere, or an entry that is there by half."""
    pointed = state(rig)
    if pointed and Generations(rig.home).read(int(pointed)) is None:
        yield f"generation {pointed} is current and cannot be read"
    for entry in rig.home.store.glob("[0-9a-f]*-*"):
        faults = list(manifest.glance(entry)) if entry.is_dir() else []
        # What somebody else damaged before is not our doing.
        yield from (str(fault) for fault in faults if fault.what not in ("missing", "unknown"))


def strays(rig: Rig) -> list[Path]:
    """Return what commands that died left lying about."""
    found = rig.drafts()
    if rig.home.store.is_dir():
        names = {path.name for path in rig.home.store.iterdir()}
        found += [rig.home.store / name for name in names if name.startswith(".") and name != ".lock"]
        found += [rig.home.store / name for name in names if name.endswith(".json") and name[:-5] not in names]
    found += list(rig.home.run.glob("servers/*/lease-*"))
    return found


def shares(sizes: dict[Case, int], points: int) -> dict[Case, int]:
    """Spread the points over the cases as evenly as their sizes allow."""
    found: dict[Case, int] = {}
    left = min(points, sum(sizes.values()))
    for place, case in enumerate(sorted(sizes, key=lambda case: sizes[case])):
        found[case] = min(sizes[case], -(-left // (len(sizes) - place)))
        left -= found[case]
    return found


def sweep(root: Path, points: int, *, seed: int = 0, workers: int = 1) -> tuple[Counter[str], list[str]]:
    """Kill at so many points in all, spread over the cases, and return how many of each and what was wrong."""

    def work(worker: int) -> tuple[Counter[str], list[str]]:
        place, dice = Place(root / str(worker)), random.Random(seed)  # the same points every time
        done: Counter[str] = Counter()
        wrong: list[str] = []
        there: dict[Case, list[tuple[str, int]]] = {}
        for case in CASES:
            place.keep(case)
            there[case] = place.points(case)
        for case, number in shares({case: len(found) for case, found in there.items()}, points).items():
            for point in dice.sample(there[case], number)[worker::workers]:
                done[case.name] += 1
                wrong += place.harm(case, point)
        place.rig(place.rig.root, "down", "--drain", "0")
        return done, wrong + [f"left after down: {pid}" for pid in place.rig.servers()]

    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(work, range(workers)))
    return sum((each[0] for each in found), Counter()), [line for each in found for line in each[1]]


def possible() -> bool:
    """Tell whether strace can watch and kill here."""
    if shutil.which("strace") is None or wheel() is None:
        return False
    trying = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=execve", "true"]
    return subprocess.run(trying, capture_output=True, check=False, timeout=20).returncode == 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("points", 300), ("seed", 0), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(words)
    if not possible():
        parser.error("strace cannot watch a program here")
    with tempfile.TemporaryDirectory(prefix="kill-points-") as folder:
        done, wrong = sweep(Path(folder), given.points, seed=given.seed, workers=given.workers)
    told = [*(f"{name}: {number} points" for name, number in done.items()), *wrong]
    sys.stdout.write("\n".join([*told, f"{sum(done.values())} points, {len(wrong)} things wrong", ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
