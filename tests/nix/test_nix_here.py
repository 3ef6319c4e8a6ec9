"""The script that finds or unpacks a Nix. `./bootstrap.sh test --nix` runs the unpacking itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script")

REPOSITORY = Path(__file__).parents[2]


def nix_here(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        ["sh", REPOSITORY / "scripts" / "nix-here", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_nix_that_is_named_wins(tmp_path: Path) -> None:
    done = nix_here(CONCIERGE_NIX="/opt/nix/bin/nix", HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "/opt/nix/bin/nix\n")
    assert list(tmp_path.iterdir()) == []


def test_what_was_unpacked_before_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "complete-forky").touch()
    done = nix_here("--own", CONCIERGE_NIX_CACHE=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/bin/nix\n")


def test_it_takes_away_all_that_it_made_read_only_folders_included(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "store").mkdir(parents=True)
    (cache / "store" / "file").touch()
    (cache / "store").chmod(0o555)
    assert nix_here("--remove", CONCIERGE_NIX_CACHE=str(cache)).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_argument_is_a_usage_error(tmp_path: Path) -> None:
    done = nix_here("--everything", HOME=str(tmp_path))
    assert done.returncode == 2
    assert "--everything" in done.stderr


def test_no_host_of_a_mirror_is_written_down() -> None:
    text = (REPOSITORY / "scripts" / "nix-here").read_text(encoding="utf-8")
    assert "://" not in text
