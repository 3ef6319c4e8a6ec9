"""The `nix` source of artefacts with a real Nix: only what is asked for is built."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.loader import load
from concierge.errors import FetchError
from concierge.processes import Hear, Output, follow, unheard
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources import nix as source
from concierge.store.sources.nix import FromFlake, with_engines
from concierge.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix


class Through:
    """Runs the laboratory's Nix in the place of `nix`."""

    def __init__(self, lab: Nix) -> None:
        self.lab = lab

    def __call__(self, command: Sequence[str], *, seconds: float, err: Hear = unheard) -> Output:
        variables = [f"{name}={value}" for name, value in self.lab.environment.items()]
        return follow(["env", *variables, str(self.lab.executable), *command[1:]], seconds=seconds, err=err)


@pytest.fixture(scope="session")
def locked_flake(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a flake as the launcher knows it: this one, its lock pointing at the stub."""
    if nix.real:
        pytest.skip("building engines from a real nixpkgs is the work of its own caches")
    folder = tmp_path_factory.mktemp("flake")
    for name in ("flake.nix", "nix", "src", "tests/nix"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        nix_copy(nix.project / name, target)
    text = (folder / "flake.nix").read_text(encoding="utf-8")
    assert "github:NixOS/nixpkgs/nixos-26.05" in text
    (folder / "flake.nix").write_text(
        text.replace("github:NixOS/nixpkgs/nixos-26.05", f"path:{nix.nixpkgs}"), encoding="utf-8"
    )
    nix.run("flake", "lock", f"path:{folder}")
    assert (
        json.loads((folder / "flake.lock").read_text(encoding="utf-8"))["nodes"]["nixpkgs"]["locked"]["type"] == "path"
    )
    return f"path:{folder}"


def nix_copy(origin: Path, target: Path) -> None:
    if origin.is_dir():
        shutil.copytree(origin, target)
    else:
        shutil.copy2(origin, target)


def test_only_the_engine_that_is_asked_for_is_built(stubbed: Nix, locked_flake: str) -> None:
    if stubbed.value("pkgs.stdenv.hostPlatform.system") != "x86_64-linux":
        pytest.skip("the attribute names x86_64-linux")
    said: list[str] = []
    built = source.realise(
        locked_flake,
        "legacyPackages.x86_64-linux.engines.llama-cpp.vulkan",
        run=Through(stubbed),
        say=said.append,
        timeout=60,
    )
    assert (built / "bin" / "llama-server").is_file()
    assert not any("cuda" in line for line in said)


def test_an_engine_that_does_not_exist_is_an_error_with_nixs_own_words(stubbed: Nix, locked_flake: str) -> None:
    with pytest.raises(FetchError, match="concierge has no metal engine for x86_64-linux"):
        source.realise(
            locked_flake, "legacyPackages.x86_64-linux.engines.ollama.metal", run=Through(stubbed), timeout=60
        )


def test_the_fetcher_brings_an_engine_of_the_flake_that_starts(stubbed: Nix, locked_flake: str, tmp_path: Path) -> None:
    if stubbed.value("pkgs.stdenv.hostPlatform.system") != "x86_64-linux":
        pytest.skip("the attribute names x86_64-linux")
    deliver = FromFlake(locked_flake, tmp_path, lambda _: None, Through(stubbed))
    fetcher = Fetcher(Store(tmp_path / "store"), {"nix": deliver}, Silent(), lambda _: None)
    (build,) = (
        build
        for build in with_engines(load(), "x86_64-linux", locked_flake, None).builds
        if build.version == "nix" and build.accelerator == "cpu"
    )
    program = fetcher.fetch(build.artefact) / "llama-server"
    done = subprocess.run([program, "--port", "1"], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout.startswith("llama-server --port 1\n")
