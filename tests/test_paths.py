"""Where things are, whatever the environment leaves out."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from concierge import paths
from concierge.errors import ConfigError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have rules of their own")


def test_home_wins_over_the_account() -> None:
    assert paths.user_home({"HOME": "/somewhere"}) == Path("/somewhere")


def test_relative_folders_of_the_desktop_are_ignored() -> None:
    assert paths.home({"HOME": "/h", "XDG_DATA_HOME": "data"}).root == Path("/h/.local/share/concierge")
    assert paths.user_config({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/concierge/concierge.toml")


@pytest.mark.parametrize("named", ["~/state", "~"])
def test_a_tilde_is_the_home_of_the_environment_that_was_given(named: str) -> None:
    assert paths.home({"HOME": "/h", "CONCIERGE_HOME": named}).root == Path("/h", *named.split("/")[1:])


def test_the_home_of_nobody_is_an_error_that_names_where_it_stands() -> None:
    with pytest.raises(ConfigError) as caught:
        paths.home({"HOME": "/h", "CONCIERGE_HOME": "~nosuchuser/state"})
    assert caught.value.where == "CONCIERGE_HOME"
    assert "~nosuchuser" in caught.value.what


def test_a_relative_home_is_an_error() -> None:
    with pytest.raises(ConfigError, match="not an absolute path"):
        paths.home({"CONCIERGE_HOME": "state"})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="takes another user's id")
def test_a_user_without_home_and_account_needs_only_concierge_home() -> None:
    child = os.fork()
    if not child:
        os.setuid(54321)
        os.environ.pop("HOME", None)
        without = paths.user_home({}) is None and paths.user_config({}) is None
        named = paths.home({"CONCIERGE_HOME": "/state"}).root == Path("/state")
        try:
            paths.home({})
        except ConfigError as error:
            refused = error.where == "HOME" and "CONCIERGE_HOME" in (error.hint or "")
        os._exit(0 if without and named and refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_made_for_a_home_is_written_down_and_nothing_where_the_home_was_there(tmp_path: Path) -> None:
    root = tmp_path / "new" / "deep" / "home"
    paths.make(root / "store", root)
    paths.make(root / "run", root)
    assert (root / paths.MADE).read_text() == str(tmp_path / "new")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "store", root / "run")} == {0o700}
    (tmp_path / "there").mkdir()
    paths.make(tmp_path / "there" / "store", tmp_path / "there")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["store"]


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for wanted in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"exists|Not a directory"):
            paths.make(wanted, tmp_path)
