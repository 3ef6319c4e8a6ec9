from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from concierge import mutex
from concierge.errors import ServerError
from concierge.paths import Home
from concierge.server.logs import newest
from concierge.server.record import Folder, Record

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.server.logs import ServerLog


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def launch(home: Home, name: str, text: str, *, when: int) -> Folder:
    folder = Folder(home, name)
    record = Record(name, 1.0, "here", "home", "ready", "w", "engine", f"model-{name}", str(folder.log), api_key="sk-1")
    folder.write(record)
    folder.log.write_text(text)
    os.utime(folder.log, (when, when))
    return folder


def found(home: Home) -> ServerLog:
    log = newest(home)
    assert log is not None
    return log


def test_where_nothing_was_started_there_is_no_log(home: Home) -> None:
    assert newest(home) is None


def test_the_newest_log_is_shown_from_its_end_without_the_key(home: Home) -> None:
    launch(home, "a", "old\n", when=1)
    launch(home, "b", "one\ntwo sk-1\nthree\n", when=2)
    log = found(home)
    assert log.model == "model-b"
    assert log.tail(2) == ["two ***", "three"]
    assert log.tail(0) == []


def test_a_server_that_runs_comes_before_one_that_is_newer(home: Home) -> None:
    running = launch(home, "a", "runs\n", when=1)
    launch(home, "b", "over\n", when=2)
    with mutex.held_file(running.alive):
        assert found(home).tail(1) == ["runs"]


def test_a_log_is_followed_line_by_line_until_its_server_has_ended(home: Home) -> None:
    folder = launch(home, "a", "before\n", when=1)
    steps = iter(["first\nsec", "ond sk-1\n", "last words"])
    with contextlib.ExitStack() as held:
        held.enter_context(mutex.held_file(folder.alive))

        def wait(_: float) -> None:
            text = next(steps)
            with folder.log.open("a") as file:
                file.write(text)
            if text == "last words":
                held.close()

        assert list(found(home).follow(wait=wait)) == ["first", "second ***", "last words"]


def test_a_log_that_cannot_be_read_is_a_sentence(home: Home) -> None:
    folder = launch(home, "a", "x\n", when=1)
    log = found(home)
    folder.log.unlink()
    with pytest.raises(ServerError, match="Cannot read"):
        log.tail(3)
