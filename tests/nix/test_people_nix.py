"""services.concierge for one person: home-manager on Linux and on a Mac, and nix-darwin."""

from __future__ import annotations

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


def test_every_kind_of_system_declares_the_same_options(stubbed: Nix) -> None:
    home = person(stubbed, "home.options", "x86_64-linux")
    assert home == person(stubbed, "darwin.options", "aarch64-darwin")
