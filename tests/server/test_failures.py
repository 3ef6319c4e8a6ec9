from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.server import watch
from concierge.server.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.server.record import Kind


@pytest.fixture
def record(tmp_path: Path) -> Record:
    log = str(tmp_path / "server.log")
    return Record("mark", 1.0, "here", "home", "starting", "wish", "engine", "tiny", log, api_key="sekret")


def test_the_end_of_the_log_is_told_without_the_key(record: Record, tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(40)]
    (tmp_path / "server.log").write_text("\n".join([*lines, "my key is sekret", "", ""]))
    error = watch.ended(record, "The engine", 3)
    told = error.what.splitlines()
    assert told[0] == "The engine ended while it was starting, with exit code 3. Its log ends:"
    assert told[1:] == [*(f"    line {number}" for number in range(26, 40)), "    my key is ***"]
    assert error.where == record.log


def test_a_log_that_is_long_is_read_from_its_end(record: Record, tmp_path: Path) -> None:
    (tmp_path / "server.log").write_bytes(b"x" * 100_000 + b"\xff\nlast")
    assert len(watch.ended(record, "It", 3).what) < watch.TAIL_BYTES + 200
    assert watch.ended(record, "It", 3).what.endswith("\n    last")


@pytest.mark.parametrize("text", [None, "", " \n\n"])
def test_an_empty_log_is_said(record: Record, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "server.log").write_text(text)
    assert watch.ended(record, "It", None).what == "It ended while it was starting. It logged nothing."


@pytest.mark.parametrize(
    ("kind", "status", "manner", "hint"),
    [
        ("engine", None, "", "If {log} does not say why, the system probably ran out of memory and killed it."),
        ("engine", 0, ", with exit code 0", "The whole log is {log}."),
        ("engine", 3, ", with exit code 3", "The whole log is {log}."),
        ("engine", -signal.SIGTERM, ", by SIGTERM", "The whole log is {log}."),
        (
            "engine",
            -signal.SIGKILL,
            ", by SIGKILL",
            "The system probably ran out of memory: choose a smaller model or a smaller `context`.",
        ),
        (
            "command",
            -signal.SIGILL,
            ", by SIGILL",
            "This build needs processor features that this machine lacks: choose another engine.",
        ),
        (
            "command",
            0,
            ", with exit code 0",
            "`local_llm_start_cmd` must stay in the foreground, or its server must answer at `base_url` at once.",
        ),
        ("command", 1, ", with exit code 1", "The whole log is {log}."),
    ],
)
def test_how_it_ended_says_what_to_do(record: Record, kind: Kind, status: int | None, manner: str, hint: str) -> None:
    error = watch.ended(replace(record, kind=kind), "It", status)
    assert error.what == f"It ended while it was starting{manner}. It logged nothing."
    assert error.hint == hint.format(log=record.log)


@pytest.mark.parametrize(("kind", "hint"), [("command", "Correct `local_llm_start_cmd`."), ("engine", None)])
def test_a_program_that_cannot_be_started_is_named(kind: Kind, hint: str | None) -> None:
    error = watch.not_started(kind, "/no/such", FileNotFoundError(2, "No such file"))
    assert (error.what, error.where, error.hint) == ("Cannot start /no/such: No such file.", "/no/such", hint)


def test_a_start_that_stalled_says_why_and_which_key_gives_it_more_time(record: Record) -> None:
    error = watch.stalled(record, "It", "made no progress for 10 s")
    assert error.what == "It made no progress for 10 s. It logged nothing."
    assert (error.where, error.hint) == (
        record.log,
        "Raise `local_llm_start_timeout_s` if this machine is only slow.",
    )


def test_a_start_that_another_command_ended_says_so(record: Record) -> None:
    error = watch.taken_away(record)
    assert error.what == "The server of tiny was stopped by another command while it was starting."
    assert error.hint == "Try again when that command is done."


def test_a_server_that_died_in_use_says_how(record: Record) -> None:
    error = watch.died(record, -signal.SIGKILL)
    assert error.what == "The server of tiny ended while it was in use, by SIGKILL. It logged nothing."
    assert "out of memory" in str(error)
    assert error.exit_code == 5
