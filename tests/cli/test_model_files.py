"""A model of one's own, through the command line and the real engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.store import manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec

COMMIT = "9" * 40

QUESTION = ("--temperature", "0", "What is the capital of France? Answer in one sentence.")
"""What even the smallest model answers shortly."""


def concierge(*arguments: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "concierge", *arguments],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    # Where a package is tested before it is installed, the program itself is found through PYTHONPATH.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "CONCIERGE_HOME": str(tmp_path / "state")}


@pytest.fixture
def engine(real_spec: ServerSpec, environ: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """The engine is here already; whatever is started is stopped."""
    store = tmp_path / "state" / "store"
    store.mkdir(mode=0o700, parents=True)
    for place in (real_spec.engine_root, manifest.file_of(real_spec.engine_root)):
        (store / place.name).symlink_to(place)
    yield
    concierge("down", environ=environ, folder=tmp_path)


def test_a_model_of_the_hub_without_a_network_is_one_sentence(environ: dict[str, str], tmp_path: Path) -> None:
    environ |= {"HF_ENDPOINT": "https://127.0.0.1:9"}
    done = concierge("plan", "--model", f"hf:o/r/m.gguf@{COMMIT}", environ=environ, folder=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("concierge: The model hub did not answer")
    assert len(done.stderr.splitlines()) == 2


def test_a_file_that_is_not_there_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    done = concierge("run", "--model", "./none.gguf", "hello", environ=environ, folder=tmp_path)
    assert done.returncode == 2
    assert "no model file at none.gguf" in done.stderr


@pytest.mark.real
@pytest.mark.usefixtures("engine")
def test_a_model_file_is_planned_locked_served_and_missed_when_it_changes(
    real_spec: ServerSpec, environ: dict[str, str], tmp_path: Path
) -> None:
    model = tmp_path / "Mine-Q4_1.gguf"
    shutil.copyfile(real_spec.model_path, model)
    plan = concierge("plan", "--model", "./Mine-Q4_1.gguf", environ=environ, folder=tmp_path)
    assert "model    mine-q4_1 Q4_1, from" in plan.stdout
    first = concierge("run", "--model", str(model), "--max-tokens", "4000", *QUESTION, environ=environ, folder=tmp_path)
    assert (first.returncode, bool(first.stdout.strip())) == (0, True), first.stderr
    assert "Fetching Mine-Q4_1.gguf" in first.stderr
    second = concierge("up", "--model", str(model), environ=environ, folder=tmp_path)
    assert (second.returncode, "Fetching" in second.stderr) == (0, False)
    assert concierge("lock", "--model", str(model), environ=environ, folder=tmp_path).returncode == 0
    assert concierge("lock", "--check", "--model", str(model), environ=environ, folder=tmp_path).returncode == 0
    with model.open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"x")
    stale = concierge("lock", "--check", "--model", str(model), environ=environ, folder=tmp_path)
    assert (stale.returncode, stale.stdout) == (1, "model mine-q4_1: differs in artefact\n")
