"""The command line of a concierge that Nix started: its flake's engines come first, and a real Nix brings them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.nix.nixlab import Nix

    Concierge = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.nix
FAKE = Path(__file__).parents[1] / "server" / "fake_llama_server.py"
# The model here is a real file, and the flags are those of the pinned engines.
CHANGES = {
    'json.loads(Path(options.model).read_text(encoding="utf-8"))': "{}",
    "parser.parse_args()": "parser.parse_known_args()[0]",
    # What the plan asks for; this server need only know the words.
    '"--gpu-layers")': '"--gpu-layers", "--batch-size", "--ubatch-size")',
}
PINNED = "github:NixOS/nixpkgs/nixos-26.05"


@pytest.fixture(scope="module")
def flake(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return this flake, its lock at a stub whose engine answers as a llama-server does."""
    if nix.real:
        pytest.skip("building engines from a real nixpkgs is the work of its own caches")
    if nix.value("pkgs.stdenv.hostPlatform.system") not in ("x86_64-linux", "aarch64-linux"):
        pytest.skip("on a Mac the engine is Metal's")
    folder = tmp_path_factory.mktemp("wired")
    program = FAKE.read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        assert old in program
        program = program.replace(old, new)
    server = folder / "llama-server"
    server.write_text(f"#!{sys.executable} -IS\n{program}", encoding="utf-8")
    server.chmod(0o755)
    stub = folder / "nixpkgs"
    shutil.copytree(nix.nixpkgs, stub)
    host = f"{{ python = {json.dumps(sys.executable)}; server = {json.dumps(str(server))}; }}\n"
    (stub / "host.nix").write_text(host, encoding="utf-8")
    project = folder / "project"
    shutil.copytree(nix.project, project)
    text = (project / "flake.nix").read_text(encoding="utf-8")
    assert PINNED in text
    (project / "flake.nix").write_text(text.replace(PINNED, f"path:{stub}"), encoding="utf-8")
    nix.run("flake", "lock", f"path:{project}")
    return f"path:{project}"


@pytest.fixture
def concierge(nix: Nix, flake: str, tmp_path: Path, gguf_bytes: bytes) -> Iterator[Concierge]:
    """Return the program as the launcher starts it, in a folder with a model; what it started is stopped again."""
    tools, folder = tmp_path / "bin", tmp_path / "project"
    tools.mkdir()
    folder.mkdir()
    (tools / "nix").symlink_to(nix.executable)
    (folder / "tiny.gguf").write_bytes(gguf_bytes)
    environ = {
        **nix.environment,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "CONCIERGE_HOME": str(tmp_path / "home"),
        "CONCIERGE_FLAKE": flake,
        "OLLAMA_HOST": "127.0.0.1:9",
        "CONCIERGE_LLM_ACCELERATOR": "cpu",
    }

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "concierge", *words],
            env={name: value for name, value in {**environ, **variables}.items() if value},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    yield run
    run("down")


def test_the_plan_takes_the_engine_of_the_flake_first(concierge: Concierge, flake: str) -> None:
    words = ("plan", "--model", "./tiny.gguf", "--context", "1024", "--json")
    for variables in ({}, {"CONCIERGE_FLAKE": "", "CONCIERGE_LLM_FLAKE": flake}):
        plan = json.loads(concierge(*words, **variables).stdout)
        assert plan["build"] == "llama-cpp nix cpu (llama-server)"
    without = json.loads(concierge(*words, CONCIERGE_FLAKE="").stdout)
    assert "nix" not in without["build"]


def test_up_serves_with_the_engine_that_nix_built(concierge: Concierge, tmp_path: Path) -> None:
    done = concierge("up", "--model", "./tiny.gguf", "--context", "1024")
    assert done.returncode == 0, done.stderr
    assert "Using llama-cpp nix cpu (llama-server)" in done.stderr
    (link,) = (tmp_path / "home" / "nix").iterdir()
    assert (link.resolve() / "bin" / "llama-server").is_file()
    assert "concierge-llama-cpp-cpu-9190" in link.resolve().name
    status = json.loads(concierge("status", "--json").stdout)
    assert status["state"] == "ready", status


def test_a_locked_machine_uses_the_lock_and_not_the_flake(concierge: Concierge) -> None:
    assert concierge("lock").returncode == 0
    plan = json.loads(concierge("plan", "--locked", "--json").stdout)
    assert "nix" not in plan["build"]
