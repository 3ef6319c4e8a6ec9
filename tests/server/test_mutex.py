from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge import mutex
from concierge.errors import ServerError
from concierge.paths import Home
from concierge.server.processes import table

if TYPE_CHECKING:
    from tests.server.conftest import Place

HOLDER = """
import sys
from pathlib import Path
from concierge.paths import Home
from concierge import mutex
sys.argv = ["concierge", "up"]
with mutex.held(Home(Path(HOME)), environ={}, say=print):
    print("held", flush=True)
    input()
"""


def test_the_lock_lies_in_the_runtime_folder_and_in_the_home(place: Place) -> None:
    runtime, own = mutex.files(place.home, place.environ)
    assert str(runtime.parent) == place.environ["XDG_RUNTIME_DIR"]
    assert own == place.home.run / "lock"


def test_a_runtime_folder_that_others_can_enter_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for named in (tmp_path / "open", tmp_path / "absent", Path("relative")):
        assert mutex.runtime_folder({"XDG_RUNTIME_DIR": str(named)}) in (None, Path(f"/run/user/{os.geteuid()}"))


def test_homes_do_not_wait_for_one_another(place: Place, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    with (
        mutex.held(place.home, environ=place.environ, say=place.said.append),
        mutex.held(other, environ=place.environ, say=place.said.append, wait_s=0),
    ):
        assert place.said == []


def test_who_does_not_get_it_names_the_holder_and_does_nothing(place: Place) -> None:
    script = HOLDER.replace("HOME", repr(str(place.home.root)))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        # Its environment names no runtime folder and ours does: the file in the home excludes us all the same.
        with (
            pytest.raises(ServerError, match=rf"process {holder.pid} \(concierge up\)"),
            mutex.held(place.home, environ=place.environ, say=place.said.append, wait_s=0.3),
        ):
            pytest.fail("two hold the lock")
        holder.kill()
    assert any("Waiting for another command" in line for line in place.said)
    with mutex.held(place.home, environ=place.environ, say=place.said.append, wait_s=5):
        assert table.myself().pid == os.getpid()


def test_who_waited_for_a_lock_that_went_with_its_home_takes_the_next_one(place: Place) -> None:
    waits, taken = threading.Event(), threading.Event()

    def waiter() -> None:
        with mutex.held(place.home, environ=place.environ, say=lambda _: waits.set()):
            taken.set()

    thread = threading.Thread(target=waiter)
    with mutex.held(place.home, environ=place.environ, say=place.said.append):
        thread.start()
        assert waits.wait(10)
        for file in mutex.files(place.home, place.environ):
            file.unlink()
    assert taken.wait(10)
    thread.join(10)
    assert all(file.exists() for file in mutex.files(place.home, place.environ))


def test_shared_holders_exclude_only_those_who_want_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with mutex.held_file(file, shared=True) as one, mutex.held_file(file, wait_s=0, shared=True) as two:
        assert (one, two) == (True, True)
        with mutex.held_file(file, wait_s=0) as alone:
            assert not alone
