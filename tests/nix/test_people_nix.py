"""services.concierge for one person: home-manager on Linux and on a Mac, and nix-darwin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
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
    assert set(darwin["agents"]) == {"concierge", "concierge-llm"}
    assert all(agent["serviceConfig"]["ProgramArguments"] for agent in darwin["agents"].values())


def test_every_kind_of_system_declares_the_same_options(stubbed: Nix) -> None:
    home = person(stubbed, "home.options", "x86_64-linux")
    assert home == person(stubbed, "darwin.options", "aarch64-darwin")
