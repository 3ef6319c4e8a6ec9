"""Runs in the copy, in a process of its own: makes the changes, tries a sample, writes what became of each.

`python -m tools.mutation.inside SAMPLE SEED WORKERS TESTS… > nothing`; the answer is `outcomes.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutmut.__main__ as machine
from mutmut.mutation.diff_apply import get_diff_for_mutant

from tools.mutation.operators import narrow
from tools.mutation.rooms import choose

SLOWEST_ROOM_S = 300
UNTRIED = {5, 33}
"""pytest's end, and mutmut's own, that mean: no test ran the changed function in pytest's own process."""

UNNOTICED = {0, *UNTRIED}


def main(arguments: list[str]) -> int:
    sample, seed, workers, *tests = arguments
    narrow()
    paths = _make_all(int(workers))
    chosen = choose(paths, sample=int(sample), seed=seed)
    machine._run(chosen, int(workers))  # noqa: SLF001  # its command line hides what we ask for here
    found = {name: machine.collect_source_file_mutation_data(mutant_names=[name])[0][0][2] for name in chosen}
    untried = [name for name, code in found.items() if code in UNTRIED]
    with ThreadPoolExecutor(int(workers)) as pool:
        found.update(zip(untried, pool.map(lambda name: _all_tests(name, tests), untried), strict=True))
    survivors = {name: get_diff_for_mutant(name, path=paths[name]) for name in chosen if found[name] in UNNOTICED}
    late = sum(found[name] not in UNNOTICED for name in untried)
    answer = {"possible": len(paths), "tried": len(chosen), "late": late, "survivors": survivors}
    Path("outcomes.json").write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _make_all(workers: int) -> dict[str, Path]:
    machine.set_mutant_under_test("mutant_generation")
    machine.copy_src_dir()
    machine.copy_also_copy_files()
    machine.create_mutants(workers)
    made, _ = machine.collect_source_file_mutation_data(mutant_names=[])
    return {name: Path(data.path) for data, name, _ in made}


def _all_tests(name: str, tests: list[str]) -> int:
    """Ask every test of the room, in a fresh process: what runs in a child, or once for many tests, shows only here."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", *machine.config().pytest_add_cli_args, *tests]
    environ = {**os.environ, "MUTANT_UNDER_TEST": name}
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(words, cwd="mutants", env=environ, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        return child.wait(SLOWEST_ROOM_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return child.wait()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # A test that mutmut made fail may have left a thread that waits for ever; nobody else waits for it.
    os._exit(code)
