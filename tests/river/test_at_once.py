"""Many commands of every kind at once: each does what it says or says why not, and what is left is whole."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if sys.platform == "win32":
    pytest.skip("uses POSIX signals and modes", allow_module_level=True)

from concierge.deploy.generation import Generations
from tests.river.kill_points import strays
from tests.river.rig import Rig, wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIXED = {
    "up": ("up", "--locked"),
    "run": ("run", "--locked", "hi"),
    "down": ("down",),
    "rollback": ("rollback",),
    "gc": ("gc", "--keep", "1"),
    "verify": ("verify",),
    "status": ("status",),
}
WEIGHTS = (4, 4, 1, 2, 2, 1, 1)

REFUSALS = {
    5: ("is in use", "was stopped by another command", "Another command holds the lock"),
    4: ("Another command uses", "Nothing was brought up here yet", "is lost"),
    2: ("There is no earlier generation", "Nothing was brought up here yet"),
}
"""What a command may say instead of doing what it was asked for, while others do the opposite."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    build = wheel()
    if build is None:
        pytest.skip("the catalogue has no engine wheel for this system")
    rig = Rig(tmp_path / "rig", build)
    yield rig
    code, _, err = rig(rig.root, "down")
    assert (code, rig.servers()) == (0, []), err


@pytest.mark.parametrize(("processes", "commands"), [(8, 24), pytest.param(50, 300, marks=pytest.mark.sweep)])
def test_mixed_commands_at_once_end_in_a_whole_state(rig: Rig, processes: int, commands: int) -> None:
    folders = [rig.project("one", context=8192), rig.project("other", context=1024)]
    rig.pace(load_s=0.1, answer_s=0.3)
    dice = random.Random(7)  # the same commands every time
    jobs = [(dice.choices([*MIXED], WEIGHTS)[0], dice.choice(folders)) for _ in range(commands)]

    def work(job: tuple[str, Path]) -> str | None:
        word, folder = job
        code, out, err = rig(folder, *MIXED[word])
        refused = any(text in err for text in REFUSALS.get(code, ()))
        fine = code == 0 or refused or (word == "status" and code == 5)
        return None if fine and "has a bug" not in err else f"{word} in {folder.name}: {code} {out} {err}"

    with ThreadPoolExecutor(processes) as pool:
        wrong = [line for line in pool.map(work, jobs) if line is not None]
    assert wrong == []
    for folder in folders:
        code, _, err = rig(folder, "up", "--locked")
        assert code == 0, err
        assert rig.servers() != []
    assert rig(folders[1], "verify", "--all")[0] == 0
    code, out, _ = rig(folders[1], "status")
    assert (code, "drift" in out) == (0, False), out
    assert strays(rig) == []
    pointer = Generations(rig.home).pointer()
    assert pointer is not None
    assert Generations(rig.home).read(pointer.number) is not None
