"""`./bootstrap.sh link` and `unlink`, in a home of their own."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bootstrap.conftest import Checkout

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script")


def shortcut(checkout: Checkout) -> Path:
    return checkout.home / ".local" / "bin" / "concierge"


def test_link_puts_concierge_into_the_users_own_folder_and_again_changes_nothing(checkout: Checkout) -> None:
    for _ in range(2):
        done = checkout.run("link")
        assert (done.returncode, done.stdout) == (0, 'export PATH="$HOME/.local/bin:$PATH"\n'), done.stderr
    assert checkout.leftovers() == []
    # Words of the script are words of concierge there, and no words are no words.
    for words in (["test", "-q"], ["link"], []):
        done = checkout.run(*words, script=shortcut(checkout))
        assert done.stdout == " ".join(["concierge", *words]) + "\n", done.stderr
    assert checkout.leftovers() == [".venv"]


def test_link_says_nothing_of_path_where_its_folder_is_on_it(checkout: Checkout) -> None:
    done = checkout.run("link", PATH=f"{shortcut(checkout).parent}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "PATH" not in done.stderr


def test_a_first_run_offers_the_link_until_there_is_one(checkout: Checkout) -> None:
    assert "./bootstrap.sh link makes it `concierge`" in checkout.run("status").stderr
    checkout.run("link")
    shutil.rmtree(checkout.path / ".venv")
    assert "./bootstrap.sh link" not in checkout.run("status").stderr


def test_unlink_takes_the_link_back_and_again_changes_nothing(checkout: Checkout) -> None:
    checkout.run("link")
    assert [checkout.run("unlink").returncode for _ in range(2)] == [0, 0]
    assert list(shortcut(checkout).parent.iterdir()) == []


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_folder(path: Path) -> None:
    path.mkdir()


def another_checkouts(path: Path) -> None:
    other = path.parent / "bootstrap.sh"
    other.touch()
    path.symlink_to(other)


def a_dead_link(path: Path) -> None:
    path.symlink_to("/nonexistent/bin/concierge")


@pytest.mark.parametrize("verb", ["link", "unlink"])
@pytest.mark.parametrize("make", [a_file, a_folder, another_checkouts, a_dead_link])
def test_what_is_not_this_checkouts_is_left_as_it_is(
    make: Callable[[Path], None], verb: str, checkout: Checkout
) -> None:
    shortcut(checkout).parent.mkdir(parents=True)
    make(shortcut(checkout))
    before = shortcut(checkout).lstat()
    done = checkout.run(verb)
    assert done.returncode == 2
    assert "is not this checkout's; it was left as it is" in done.stderr
    assert shortcut(checkout).lstat() == before


@pytest.mark.parametrize(("verb", "left"), [("link", True), ("unlink", False)])
def test_the_dead_link_of_a_checkout_that_was_moved_is_ours(verb: str, left: bool, checkout: Checkout) -> None:
    checkout.run("link")
    checkout.path = checkout.path.rename(checkout.root / "moved")
    assert checkout.run(verb).returncode == 0
    assert shortcut(checkout).is_symlink() == left
    assert not left or shortcut(checkout).samefile(checkout.path / "bootstrap.sh")


@pytest.mark.parametrize("words", [["link", "here"], ["unlink", "--all"]])
def test_link_and_unlink_take_no_more_words(words: list[str], checkout: Checkout) -> None:
    assert checkout.run(*words).returncode == 2


def test_a_link_that_cannot_be_made_is_said(checkout: Checkout) -> None:
    (checkout.home / ".local").touch()
    done = checkout.run("link")
    assert done.returncode == 2
    assert f"{shortcut(checkout)} could not be made." in done.stderr


def test_a_link_needs_a_home(checkout: Checkout) -> None:
    done = checkout.run("link", HOME="")
    assert done.returncode == 2
    assert "HOME is not set" in done.stderr
