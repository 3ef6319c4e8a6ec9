"""services.concierge for one person: home-manager on Linux and on a Mac, and nix-darwin."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix


def person(nix: Nix, what: str, system: str) -> Any:
    people = f'(import (project + "/tests/nix/people.nix") {{ inherit nixpkgs project; system = "{system}"; }})'
    return nix.value(f"{people}.{what}")


def test_on_linux_a_person_gets_two_user_units(stubbed: Nix) -> None:
    home = person(stubbed, "home", "x86_64-linux")
    assert home["refused"] == []
    assert home["agents"] == {}
    assert home["state"] == "/home/ada/.local/share/concierge"
    units = home["units"]
    assert set(units) == {"concierge", "concierge-llm"}
    assert units["concierge"]["Unit"]["Requires"] == ["concierge-llm.service"]
    for unit in units.values():
        assert unit["Install"] == {"WantedBy": ["default.target"]}
        assert unit["Unit"]["StartLimitBurst"] == 5
        assert "ready" in unit["Service"]["ExecStartPost"]


def test_blanks_and_signs_reach_a_persons_programs_as_they_were_written(stubbed: Nix) -> None:
    spaced = person(stubbed, "spaced", "x86_64-linux")
    assert spaced["refused"] == []
    service = spaced["units"]["concierge"]["Service"]
    # Inside quotes systemd takes an escaped quote for a quote, %% for % and, in commands, $$ for $.
    assert '"SAID=a \\"b\\" 100%% \\\\c"' in service["Environment"]
    assert '"CONCIERGE_HOME=/home/ada/my 100%% $data/concierge/home"' in service["Environment"]
    assert service["ExecStartPre"][0].endswith(' "/home/ada/my 100%% $$data/concierge"')
    # Whoever writes a token file names its folder by what systemd replaces.
    assert ' "${XDG_RUNTIME_DIR}/my secrets/token" ' in service["ExecStart"]


def test_on_a_mac_a_person_gets_two_launchd_agents_that_use_metal(stubbed: Nix) -> None:
    home = person(stubbed, "home", "aarch64-darwin")
    assert home["refused"] == []
    assert home["units"] == {}
    assert home["acceleration"] == "metal"
    assert set(home["agents"]) == {"concierge", "concierge-llm"}
    for agent in home["agents"].values():
        assert agent["enable"] is True
        assert agent["config"]["RunAtLoad"] is True
        assert agent["config"]["KeepAlive"] == {"SuccessfulExit": False}


def test_nix_darwin_runs_the_same_jobs(stubbed: Nix) -> None:
    darwin = person(stubbed, "darwin", "aarch64-darwin")
    assert darwin["refused"] == []
    assert darwin["state"] == "~/Library/Application Support/concierge"
    assert set(darwin["agents"]) == {"concierge", "concierge-llm"}
    assert all(agent["serviceConfig"]["ProgramArguments"] for agent in darwin["agents"].values())


def test_nix_darwin_keeps_no_state_where_everybody_writes(stubbed: Nix) -> None:
    (message,) = person(stubbed, "shared.refused", "aarch64-darwin")
    assert "everybody on this machine can write to /Users/Shared" in message


JOBS = """import (project + "/nix/modules/launchd.nix") {
  inherit pkgs;
  inherit (pkgs) lib;
  cfg = { engine = "ollama"; stateDir = "~/Application Support"; apiTokenFile = TOKEN; };
  parts = {
    local = true;
    environment = { };
    config = "/concierge.toml";
    makeSecret = pkgs.writeShellScript "secret" "echo made > \\"$1\\"";
    api = pkgs.writeShellScript "api" "echo \\"$1\\"";
  };
  wrap = job: job;
}"""


@pytest.mark.parametrize(
    ("named", "token"),
    [
        ("null", "{home}/Application Support/run/token"),
        ('"$(printf %s \\"$HOME\\")/my token"', "{home}/my token"),
    ],
)
def test_a_job_of_launchd_keeps_its_state_with_the_person_it_runs_for(
    stubbed: Nix, tmp_path: Path, named: str, token: str
) -> None:
    jobs = JOBS.replace("TOKEN", named)
    script = stubbed.built(f'pkgs.writeShellScript "job" (builtins.head ({jobs}).concierge.ProgramArguments)')
    home = tmp_path / "a person"
    home.mkdir()
    subprocess.run([script], env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, check=True, timeout=10)
    run = home / "Application Support" / "run"
    assert run.stat().st_mode & 0o777 == 0o700
    assert (run / "concierge.log").read_text(encoding="utf-8") == token.format(home=home) + "\n"
    assert (run / "token").exists() is (named == "null")


@pytest.fixture(scope="module")
def whole(nix: Nix) -> str:
    """Return the expression of what the real home-manager and nix-darwin make."""
    trees = {name: os.environ.get(f"CONCIERGE_{name}") for name in ("HOME_MANAGER", "NIX_DARWIN")}
    if not nix.real or not all(trees.values()):
        pytest.skip("CONCIERGE_NIXPKGS, CONCIERGE_HOME_MANAGER and CONCIERGE_NIX_DARWIN name no real trees")
    given = f"homeManager = {trees['HOME_MANAGER']}; nixDarwin = {trees['NIX_DARWIN']};"
    return f'(import (project + "/tests/nix/people-real.nix") {{ inherit nixpkgs project; {given} }})'


@pytest.mark.parametrize("kind", ["linux", "mac", "darwin"])
def test_the_real_module_systems_make_derivations_of_both_jobs(nix: Nix, whole: str, kind: str) -> None:
    found = nix.value(f"{whole}.{kind}")
    assert found["made"].endswith(".drv")
    assert set(found["jobs"]) == {"concierge", "concierge-llm"}
    assert found.get("refused", []) == []


def test_the_real_home_manager_refuses_in_our_sentence(nix: Nix, whole: str) -> None:
    assert "services.concierge.apiTokenFile is in the Nix store" in nix.failure(f"{whole}.refused")


def test_every_kind_of_system_declares_the_same_options(stubbed: Nix) -> None:
    home = person(stubbed, "home.options", "x86_64-linux")
    assert home == person(stubbed, "darwin.options", "aarch64-darwin")
