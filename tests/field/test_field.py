"""What happened in the field, as scripts against the installed program: each ends with 0 where concierge does right.

``cases/`` are days of users, ``faults/`` are kills, broken lines and strange surroundings. Each says in its first
lines what it shows, and may be run by hand with the program as its argument.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from concierge.deploy.spec import ServerSpec

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*/*.sh"))
LONGEST_S = 240
NEEDED = {"unshare": ("unshare",), "strace": ("strace",), "openssl": ("openssl", "ca;", "server ")}
"""Programs that a script needs, and the words in it that show so."""

pytestmark = [
    pytest.mark.field,
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="the scripts are for Linux"),
]


def missing(text: str) -> str | None:
    """Return why a script cannot run here."""
    if "unshare" in text and os.geteuid() != 0:
        return "makes namespaces, which takes root"
    needed = [program for program, words in NEEDED.items() if any(word in text for word in words)]
    return next((f"needs {program}" for program in needed if shutil.which(program) is None), None)


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory, real_spec: ServerSpec) -> Path:
    """A home whose store is already full, which scripts copy."""
    home = tmp_path_factory.mktemp("seed")
    (home / "store").symlink_to(real_spec.engine_root.parent)
    return home


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_script_ends_with_0(script: Path, seed: Path) -> None:
    if (reason := missing(script.read_text(encoding="utf-8"))) is not None:
        pytest.skip(reason)
    program = Path(sys.executable).with_name("concierge")
    environ = {**os.environ, "CASE_SEED": str(seed)}
    words = ["bash", str(script), str(program)]
    done = subprocess.run(
        words, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
