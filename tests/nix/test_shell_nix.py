"""`nix develop` and direnv: what a person who works on concierge finds in their shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from concierge import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix


@pytest.fixture(scope="module")
def shell(nix: Nix) -> str:
    """Return the script that `nix develop` starts its shell with."""
    if nix.real:
        pytest.skip("entering the shell of a real nixpkgs is the work of its caches")
    return nix.flake("print-dev-env").stdout


def entered(script: str, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        ["bash", "-c", f"{script}\n{command}"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_concierge_is_a_command_in_every_folder_of_the_checkout(nix: Nix, shell: str, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(nix.project / "src", checkout / "src")
    changed = checkout / "src/concierge/__init__.py"
    changed.write_text(changed.read_text(encoding="utf-8").replace(__version__, "1.2.3"), encoding="utf-8")
    # One that is called like it is not taken for it.
    for folder in (checkout, checkout / "src/concierge/plan", checkout / "docs", checkout / "concierge"):
        done = entered(shell, folder, "concierge --version")
        assert done.stdout == "concierge 1.2.3\n", done.stderr
        away = entered(shell, folder, "cd / && concierge --help")
        assert "Usage: concierge" in away.stdout, away.stderr


def test_outside_of_a_checkout_the_source_of_the_flake_runs(shell: str, tmp_path: Path) -> None:
    done = entered(shell, tmp_path, "concierge --version")
    assert done.stdout == f"concierge {__version__}\n", done.stderr


def test_the_engine_and_the_tools_are_there(shell: str, tmp_path: Path) -> None:
    done = entered(shell, tmp_path, "command -v llama-server ruff uv treefmt python3 concierge")
    assert len(done.stdout.splitlines()) == 6, done.stderr
    assert done.stdout.count("/nix/store/") == 6


NIX_DIRENV = """nix_direnv_version() { :; }
use_flake() { echo "nix-direnv was used" >&2; }
"""


@pytest.mark.skipif(shutil.which("direnv") is None, reason="there is no direnv here")
@pytest.mark.parametrize("installed", [True, False], ids=("nix-direnv", "direnv alone, without a network"))
def test_the_envrc_brings_the_shell(nix: Nix, shell: str, tmp_path: Path, installed: bool) -> None:
    assert shell
    checkout, tools = tmp_path / "checkout", tmp_path / "bin"
    shutil.copytree(nix.project, checkout)
    tools.mkdir()
    ours = tools / "nix"
    words = f'--override-input nixpkgs "{nix.reference}" --no-write-lock-file'
    ours.write_text(f'#!/bin/sh\nexec {nix.executable} "$@" {words}\n', encoding="utf-8")
    ours.chmod(0o755)
    config = tmp_path / ".config/direnv"
    config.mkdir(parents=True)
    if installed:
        (config / "direnvrc").write_text(NIX_DIRENV, encoding="utf-8")
    environ = {
        **nix.environment,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        # Nobody listens there.
        "https_proxy": "http://127.0.0.1:9",
    }

    def direnv(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["direnv", *words]
        return subprocess.run(
            command, env=environ, cwd=checkout, capture_output=True, text=True, timeout=120, check=False
        )

    assert direnv("allow").returncode == 0
    done = direnv("exec", ".", "sh", "-c", "cd src && concierge --version")
    if installed:
        assert "nix-direnv was used" in done.stderr
    else:
        assert done.stdout == f"concierge {__version__}\n", done.stderr
