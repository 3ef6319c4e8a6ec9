"""The flake, evaluated and built by a real Nix."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge import __version__

if TYPE_CHECKING:
    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix
REPOSITORY = Path(__file__).parents[2]


def test_every_nix_file_parses(nix: Nix) -> None:
    parser = nix.executable.with_name("nix-instantiate")
    files = [REPOSITORY / "flake.nix", *sorted((REPOSITORY / "nix").rglob("*.nix"))]
    files += sorted((REPOSITORY / "tests" / "nix").rglob("*.nix"))
    nix.run("--parse", *files, executable=parser)


def test_the_flake_passes_its_check_for_every_system(nix: Nix) -> None:
    done = nix.flake("flake check", "", "--no-build", "--all-systems")
    assert "unknown flake output" not in done.stderr
    assert "aarch64-darwin" in done.stderr


def test_the_flake_shows_what_it_offers(nix: Nix) -> None:
    shown = json.loads(nix.flake("flake show", "", "--json", "--all-systems").stdout)
    shown = shown.get("inventory", shown)
    assert {"packages", "apps", "devShells", "formatter", "checks", "overlays", "templates", "nixosModules"} <= set(
        shown
    )


def test_the_lock_is_complete_and_nothing_else_is_needed(nix: Nix) -> None:
    lock = json.loads((nix.project / "flake.lock").read_text(encoding="utf-8"))
    assert lock["version"] == 7
    assert set(lock["nodes"]) == {"root", "nixpkgs"}
    assert {"rev", "narHash", "lastModified", "owner", "repo", "type"} == set(lock["nodes"]["nixpkgs"]["locked"])
    metadata = json.loads(nix.run("flake", "metadata", "--json", "--no-update-lock-file", f"path:{nix.project}").stdout)
    assert metadata["locks"]["nodes"] == lock["nodes"]


def test_nix_run_starts_concierge(nix: Nix) -> None:
    assert nix.flake("run", "concierge", "--", "--version").stdout == f"concierge {__version__}\n"


def test_the_launcher_knows_the_flake_that_it_came_from(nix: Nix) -> None:
    text = (nix.build("concierge") / "bin" / "concierge").read_text(encoding="utf-8")
    found = re.search(r"CONCIERGE_FLAKE\S*?-(/\S+?-source)", text)
    assert found is not None
    assert (Path(found[1]) / "flake.lock").is_file()


def test_the_package_installs_completions_and_a_manual(stubbed: Nix, tmp_path: Path) -> None:
    described = tmp_path / "nixpkgs"
    shutil.copytree(stubbed.nixpkgs, described)
    host = described / "host.nix"
    host.write_text(host.read_text(encoding="utf-8").replace("}", "describe = true; }"), encoding="utf-8")
    built = dataclasses.replace(stubbed, nixpkgs=described).build("concierge")
    share = built / "share"
    assert "complete" in (share / "bash-completion/completions/concierge").read_text(encoding="utf-8")
    assert "#compdef concierge" in (share / "zsh/site-functions/_concierge").read_text(encoding="utf-8")
    assert "complete" in (share / "fish/vendor_completions.d/concierge.fish").read_text(encoding="utf-8")
    manual = (share / "man/man1/concierge.1").read_text(encoding="utf-8")
    assert f'"concierge {__version__}"' in manual
    assert '.SH "RUN"' in manual


def test_the_package_takes_exactly_what_pyproject_asks_for(stubbed: Nix) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    scoped = '(pkgs.callPackage (project + "/nix/package.nix") { })'
    taken = stubbed.value(f"map (each: each.pname) {scoped}.passthru.dependencies")
    assert sorted(taken) == sorted(re.split(r"[^a-z-]", line)[0] for line in project["project"]["dependencies"])
    checked = stubbed.value(f"map (each: each.pname) {scoped}.tests.suite.passthru.nativeCheckInputs")
    tools = {"mypy", "ruff", "types-psutil", "pytest"}
    wanted = {re.split(r"[^a-z-]", line)[0] for line in project["dependency-groups"]["dev"]} - tools
    assert set(checked) == wanted | {"pytestCheckHook"}


def test_who_runs_it_waits_for_no_test_and_the_check_runs_them_all(nix: Nix) -> None:
    package = '(pkgs.callPackage (project + "/nix/package.nix") { })'
    # nixpkgs runs the tests of Python packages when they are installed.
    tested = nix.value(f"map (it: it.doInstallCheck or it.passthru.doCheck) [ {package} {package}.tests.suite ]")
    assert tested == [False, True]
    assert "suite" in nix.value(
        """builtins.attrNames (import (project + "/nix/checks.nix") {
          inherit nixpkgs pkgs;
          inherit (pkgs.stdenv.hostPlatform) system;
          concierge = PACKAGE;
        } { })""".replace("PACKAGE", package)
    )


def test_the_package_reads_no_test_and_no_documentation(nix: Nix) -> None:
    source = nix.value('"${(pkgs.callPackage (project + "/nix/package.nix") { }).src}"')
    assert sorted(each.name for each in Path(source).iterdir()) == ["LICENSE", "README.md", "pyproject.toml", "src"]


def test_the_default_package_brings_no_engine(stubbed: Nix) -> None:
    built = stubbed.build("default")
    closure = stubbed.run("path-info", "--recursive", built).stdout
    assert "llama" not in closure
    assert "ollama" not in closure
    assert "cuda" not in closure


def test_a_package_that_nixpkgs_does_not_have_fails_the_check(stubbed: Nix) -> None:
    assert "llama-cpp-cuda" in stubbed.failure("pkgs.llama-cpp-cuda")


def test_an_override_argument_that_the_package_does_not_take_fails_the_check(stubbed: Nix) -> None:
    message = stubbed.failure("(pkgs.ollama.override { enableCuda = true; }).name")
    assert "unexpected argument 'enableCuda'" in message


def test_a_nixpkgs_setting_that_is_not_known_fails_the_check(stubbed: Nix) -> None:
    stubbed.failure("(import nixpkgs { system = builtins.currentSystem; config.cudaEnabled = true; }).ollama.name")


ENGINES = """(import (project + "/nix/engines.nix") {
  inherit pkgs;
  importNixpkgs = config: import nixpkgs { inherit config; inherit (pkgs.stdenv.hostPlatform) system; };
})"""


@pytest.mark.parametrize("accelerator", ["cpu", "cuda", "rocm", "vulkan"])
@pytest.mark.parametrize(("engine", "command"), [("llama-cpp", "llama-server"), ("ollama", "ollama")])
def test_each_engine_is_started_where_its_plugins_are(
    stubbed: Nix, engine: str, command: str, accelerator: str
) -> None:
    if stubbed.value("pkgs.stdenv.hostPlatform.system") != "x86_64-linux":
        pytest.skip("ROCm is for x86_64-linux alone")
    script = (stubbed.built(f"{ENGINES}.{engine}.{accelerator}") / "bin" / command).read_text(encoding="utf-8")
    executed = re.search(r"^exec (\S+) ", script, re.MULTILINE)
    assert executed is not None
    assert Path(executed[1]).name == command
    assert Path(executed[1]).is_file()
    assert engine == "ollama" or (Path(executed[1]).parent / "libggml-cpu.so").exists()


def test_cuda_comes_from_the_instance_that_the_cuda_cache_builds(stubbed: Nix) -> None:
    assert stubbed.value(f"{ENGINES}.llama-cpp.cuda.package.cudaSupport") is True
    assert stubbed.value(f"{ENGINES}.ollama.cuda.package.acceleration") == "cuda"
    assert stubbed.value(f"{ENGINES}.llama-cpp.cpu.package.cudaSupport") is False


def test_an_accelerator_that_a_system_does_not_have_is_refused_in_a_sentence(stubbed: Nix) -> None:
    mac = ENGINES.replace("inherit pkgs", 'pkgs = import nixpkgs { system = "aarch64-darwin"; }')
    assert "concierge has no cuda engine for aarch64-darwin" in stubbed.failure(f"{mac}.ollama.cuda.name")


def test_ollama_with_vulkan_is_told_to_use_it(stubbed: Nix) -> None:
    program = stubbed.built(f"{ENGINES}.ollama.vulkan") / "bin" / "ollama"
    seen = subprocess.run(
        [program], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True, timeout=10
    )
    assert "OLLAMA_VULKAN=1" in seen.stdout
    folders = re.search(r"^LD_LIBRARY_PATH=(.*)$", seen.stdout, re.MULTILINE)
    assert folders is not None
    assert all("-vulkan-loader-" in folder for folder in folders[1].split(":"))


def test_the_overlay_offers_the_same_packages(stubbed: Nix) -> None:
    overlay = '(import (project + "/nix/overlay.nix") { flake = "/f"; })'
    overlaid = f"import nixpkgs {{ system = builtins.currentSystem; overlays = [ {overlay} ]; }}"
    assert stubbed.value(f"({overlaid}).concierge.pname") == "concierge"
    assert "smollm2-135m" in stubbed.value(f"builtins.attrNames ({overlaid}).conciergeModels")
    assert stubbed.value(f"({overlaid}).conciergeEngines.ollama.cuda.package.acceleration") == "cuda"
