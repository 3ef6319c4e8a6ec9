"""What the commands about the state of a machine print, in the process of the tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from concierge.cli import state
from concierge.deploy.generation import Generations
from concierge.errors import UsageError
from concierge.paths import Home
from tests.deploy.test_generation import made

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Two generations, whose bytes are there; the commands find them by the environment."""
    found = Home(tmp_path / "home")
    generations = Generations(found)
    for asked in "ab":
        generations.switch(made(found, asked))
    monkeypatch.setenv("CONCIERGE_HOME", str(found.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return found


def test_generations_are_listed_with_the_current_one_marked(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    state.generations()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines if line[2:3].isdigit()] == ["  1", "* 2"]
    state.generations(as_json=True)
    listed = json.loads(capsys.readouterr().out)["generations"]
    assert [(row["number"], row["current"]) for row in listed] == [(1, False), (2, True)]
    assert home.current.read_text() == "2\n"


def test_what_is_to_be_removed_is_only_said_on_a_dry_run(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    state.gc(keep=1, dry_run=True)
    assert "Would remove" in capsys.readouterr().err
    state.gc(keep=1, as_json=True)
    assert json.loads(capsys.readouterr().out)["dry_run"] is False


def test_what_is_not_as_it_was_brought_ends_with_4(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.root.is_dir()
    code = state.verify(everything=True)
    printed = capsys.readouterr()
    assert (code == 4) == ("puts right" in printed.err)
    assert state.verify(as_json=True) == code
    assert json.loads(capsys.readouterr().out)["whole"] is (code == 0)


def test_nobody_is_there_to_say_yes(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="nobody is there"):
        state.destroy(as_json=True)
    assert home.root.exists()
    state.destroy(yes=True)
    assert "Removed" in capsys.readouterr().err
    assert not home.current.exists()
