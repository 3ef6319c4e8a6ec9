"""Every known way out of a sandbox, tried in each layer of this machine, as this user and as one without rights."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concierge.agent.sandbox import search
from tests.agent.confined.escapes import ESCAPES, Escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these layers")

CONFINED = Path(__file__).parent / "confined"
SOURCE = Path(__file__).parents[2] / "src" / "concierge"
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"

Play = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that every user may enter, with copies of what the player needs."""
    place = Path(tempfile.mkdtemp(prefix="concierge-escapes-"))
    place.chmod(0o755)
    package = place / "source" / "concierge"
    shutil.copytree(SOURCE / "agent" / "sandbox", package / "agent" / "sandbox")
    for name in ("__init__.py", "errors.py", "units.py", "agent/__init__.py"):
        shutil.copy(SOURCE / name, package / name)
    shutil.copytree(CONFINED, place / "confined")
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def plays(place: Path) -> Callable[[str, str], Play]:
    """Play all escapes once for each layer and user."""
    played: dict[tuple[str, str], Play] = {}

    def plays(layer: str, user: str) -> Play:
        if (layer, user) not in played:
            played[layer, user] = _play(place, layer, user)
        return played[layer, user]

    return plays


def _play(place: Path, layer: str, user: str) -> Play:
    world = Path(tempfile.mkdtemp(prefix="concierge-world-"))
    world.chmod(0o755)
    more: dict[str, Any] = {}
    python = sys.executable
    if user == "nobody":
        os.chown(world, NOBODY, NOBODY)
        more = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        python = SYSTEM_PYTHON
    environ = {"CONCIERGE_SOURCE": str(place / "source"), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    words = [python, "-B", str(place / "confined" / "player.py"), layer, str(world)]
    words += ["outside"] if layer == LAYERS[-1] else []
    try:
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=280, check=False, **more)
    finally:
        shutil.rmtree(world, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return said["secret"], said["played"]


LAYERS = sorted(sandbox.layer for sandbox in search.candidates()) if sys.platform == "linux" else []
USERS = ["own", *(["nobody"] if os.name == "posix" and os.getuid() == 0 and Path(SYSTEM_PYTHON).exists() else [])]


def came_through(escape: Escape, secret: str, output: str) -> bool:
    return secret in output or "ESCAPED" in output or re.search(escape.says, output) is None


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.name)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("layer", LAYERS)
def test_no_way_leads_out(layer: str, user: str, escape: Escape, plays: Callable[[str, str], Play]) -> None:
    secret, played = plays(layer, user)
    assert not came_through(escape, secret, played[escape.name]["inside"]), played[escape.name]["inside"]


@pytest.mark.parametrize("escape", [each for each in ESCAPES if each.outside != "nobody"], ids=lambda each: each.name)
@pytest.mark.parametrize("user", USERS)
def test_the_same_way_is_open_without_a_sandbox(user: str, escape: Escape, plays: Callable[[str, str], Play]) -> None:
    secret, played = plays(LAYERS[-1], user)
    output = played[escape.name]["outside"]
    if output is None:
        pytest.skip("only root comes through without a sandbox")
    assert came_through(escape, secret, output), output
