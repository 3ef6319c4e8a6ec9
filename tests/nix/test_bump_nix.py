"""One command moves the pins and shows what changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nix.nixlab import Nix


WRITES = """from pathlib import Path
engines = Path("src/concierge/catalog/engines.toml")
engines.write_text(engines.read_text(encoding="utf-8").replace("b11429", "b99999"), encoding="utf-8")
"""


@pytest.mark.nix
def test_bumping_moves_the_lock_and_shows_each_digest_before_and_after(stubbed: Nix, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(stubbed.project, project)
    flake = project / "flake.nix"
    text = flake.read_text(encoding="utf-8")
    flake.write_text(text.replace("github:NixOS/nixpkgs/nixos-26.05", f"path:{stubbed.nixpkgs}"), encoding="utf-8")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nix").symlink_to(stubbed.executable)
    # The publishers are not asked here: modules that answer at once stand in for the two that would. The writing is
    # tested where the catalogue is.
    catalogue = project / "tools" / "catalogue"
    (catalogue / "verify.py").write_text("print('every pin holds')\n", encoding="utf-8")
    (catalogue / "bump.py").write_text(WRITES, encoding="utf-8")
    environment = {**stubbed.environment, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, project / "scripts" / "bump"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "every pin holds" in lines
    assert any(line.startswith("~ nixpkgs hash: sha256-") and " -> sha256-" in line for line in lines)
    assert any(line.startswith("~ engines.toml: sha256-") and " -> sha256-" in line for line in lines)
    assert any(line.startswith("= models.toml: sha256-") for line in lines)
    models = project / "docs" / "models.md"
    assert models.read_bytes() == (stubbed.project / "docs" / "models.md").read_bytes()
