"""The one entry on a machine without Nix, run as it is in a small checkout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bootstrap.conftest import Checkout, Pipe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script")

WAIT_S = 20


def test_a_first_run_makes_the_environment_and_hands_over(checkout: Checkout) -> None:
    done = checkout.run("plan", "--json")
    assert (done.returncode, done.stdout) == (0, "concierge plan --json\n"), done.stderr
    assert f"Making {checkout.path}/.venv with {checkout.python}, from requirements.lock" in done.stderr
    assert checkout.leftovers() == [".venv"]


def test_without_words_it_is_concierge_up(checkout: Checkout) -> None:
    assert checkout.run().stdout == "concierge up\n"


def test_a_warm_run_starts_no_python_of_its_own_and_says_nothing(checkout: Checkout) -> None:
    checkout.run("status")
    checkout.log.write_text("")
    done = checkout.run("status")
    assert (done.stdout, done.stderr, checkout.log.read_text()) == ("concierge status\n", "", "")


def test_a_lock_that_changed_is_installed(checkout: Checkout) -> None:
    checkout.run("status")
    (checkout.path / "requirements.lock").write_text("another\n")
    assert checkout.run("status").returncode == 0
    assert checkout.installs() == 2


def test_the_environment_is_beside_the_script_and_never_beside_a_link_to_it(checkout: Checkout) -> None:
    elsewhere = checkout.root / "else where"
    elsewhere.mkdir()
    (elsewhere / "absolute").symlink_to(checkout.path / "bootstrap.sh")
    (checkout.home / "relative").symlink_to("../else where/absolute")
    done = checkout.run("status", script=checkout.home / "relative")
    assert (done.returncode, done.stdout) == (0, "concierge status\n"), done.stderr
    assert checkout.leftovers() == [".venv"]
    assert [path.name for path in elsewhere.iterdir()] == ["absolute"]


def test_a_checkout_that_was_moved_makes_its_environment_again(checkout: Checkout) -> None:
    checkout.run("status")
    checkout.path = checkout.path.rename(checkout.root / "moved here")
    assert checkout.run("status").stdout == "concierge status\n"
    assert checkout.installs() == 2


def test_an_environment_whose_python_was_removed_is_made_again(checkout: Checkout) -> None:
    checkout.run("status")
    checkout.python.unlink()
    checkout.python = checkout.stand_in("python3.12")
    assert checkout.run("status").stdout == "concierge status\n"
    assert checkout.installs() == 2


def test_an_environment_whose_python_became_another_one_is_made_again(checkout: Checkout) -> None:
    named = checkout.bin / "python3"
    named.symlink_to("python3.11")
    checkout.python = named
    checkout.run("status")
    checkout.stand_in("python3.13")
    named.unlink()
    named.symlink_to("python3.13")
    assert checkout.run("status").stdout == "concierge status\n"
    assert checkout.installs() == 2


def test_a_new_environment_that_does_not_start_is_not_kept(checkout: Checkout) -> None:
    done = checkout.run("status", STUB_STARTS="1")
    assert done.returncode == 4
    assert f"The new {checkout.path}/.venv does not start" in done.stderr
    assert checkout.leftovers() == []


def test_two_at_once_install_once(checkout: Checkout, pipe: Pipe) -> None:
    with checkout.started("status", STUB_PIP=f"read go <{pipe.path}") as first:
        assert first.stderr is not None
        assert any("Making" in line for line in first.stderr)
        with checkout.started("status") as second:
            assert second.stderr is not None
            assert "Waiting for another bootstrap.sh to finish." in second.stderr.readline()
            pipe.say()
            assert (second.communicate(timeout=WAIT_S)[0], second.returncode) == ("concierge status\n", 0)
        assert (first.communicate(timeout=WAIT_S)[0], first.returncode) == ("concierge status\n", 0)
    assert checkout.installs() == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_puts_the_old_environment_back(
    number: signal.Signals, code: int, checkout: Checkout, pipe: Pipe
) -> None:
    checkout.run("status")
    (checkout.path / ".venv" / "old").touch()
    (checkout.path / "requirements.lock").write_text("another\n")
    with checkout.started("status", STUB_PIP=f"echo at work >{pipe.path}; sleep {WAIT_S}") as process:
        pipe.hear()
        os.killpg(process.pid, number)
        process.communicate(timeout=WAIT_S)
        assert process.returncode == code
    assert (checkout.path / ".venv" / "old").exists()
    assert checkout.leftovers() == [".venv"]


def test_what_a_killed_run_had_moved_away_comes_back(checkout: Checkout, pipe: Pipe) -> None:
    checkout.run("status")
    (checkout.path / ".venv" / "old").touch()
    lock = (checkout.path / "requirements.lock").read_text()
    (checkout.path / "requirements.lock").write_text("another\n")
    with checkout.started("status", STUB_PIP=f"echo at work >{pipe.path}; sleep {WAIT_S}") as process:
        pipe.hear()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
    assert checkout.leftovers() == [".venv", ".venv.lock", ".venv.old"]
    (checkout.path / "requirements.lock").write_text(lock)
    assert checkout.run("status").stdout == "concierge status\n"
    assert (checkout.path / ".venv" / "old").exists()
    assert checkout.leftovers() == [".venv"]


def test_no_python_is_said_with_what_to_install(checkout: Checkout) -> None:
    done = checkout.run("status", CONCIERGE_PYTHON=str(checkout.bin / "python2"))
    assert done.returncode == 3
    assert "No Python 3.11 or newer was found." in done.stderr
    assert checkout.leftovers() == []


def test_a_folder_that_is_read_only_is_said(open_checkout: Checkout) -> None:
    # Root may write anywhere, so there the script is run as nobody.
    nobody = 65534 if os.geteuid() == 0 else None
    open_checkout.path.chmod(0o555)
    done = subprocess.run(
        [open_checkout.path / "bootstrap.sh", "status"],
        env=open_checkout.environ(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=nobody,
        group=nobody,
    )
    open_checkout.path.chmod(0o755)
    assert done.returncode == 4
    assert f"{open_checkout.path} is read-only" in done.stderr


def test_what_keeps_an_environment_from_being_made_is_said(checkout: Checkout) -> None:
    done = checkout.run("status", STUB_VENV="echo no room; exit 1")
    assert done.returncode == 4
    assert f"{checkout.python} could not make {checkout.path}/.venv: no room\n" in done.stderr
    assert checkout.leftovers() == []


PINNED = """ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. These do not:
    coverage[toml]>=7.10.6 from an index (from pytest-cov==7.1.0->-r requirements-dev.lock (line 811))"""
OTHER_BYTES = """ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated …
    idna==3.20 from an index:
        Expected sha256 08
             Got        e1"""
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
ABSENT = """ERROR: Could not find a version that satisfies the requirement idna==3.20 (from versions: none)
ERROR: No matching distribution found for idna==3.20"""
UNREACHED = "WARNING: Retrying (…) after connection broken by 'NewConnectionError(…)': /simple/idna/"


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (PINNED, "could not be installed"),
        (ABSENT, "could not be installed"),
        (f"{UNREACHED}\n{PINNED}", "could not be installed"),
        (OTHER_BYTES, "serves other bytes"),
        (FULL, "The disk is full"),
        (f"{UNREACHED}\n{ABSENT}", "could not be reached; check the network"),
    ],
)
def test_the_words_of_pip_are_printed_whole_and_name_the_cause(words: str, cause: str, checkout: Checkout) -> None:
    (checkout.root / "words").write_text(words)
    done = checkout.run("status", STUB_PIP=f"cat {checkout.root}/words; exit 1")
    assert done.returncode == 4
    assert words in done.stderr
    assert cause in done.stderr
    assert ("network" in done.stderr) == ("network" in cause)
    assert checkout.leftovers() == []
