from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from concierge import mutex
from concierge.agent import runs
from concierge.agent.events import Asked, Event, RunResult, ToolCalled, ToolsRefused
from concierge.agent.journal import Journal
from concierge.agent.runs import read_run
from concierge.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

ASKED = Asked(step=1, messages=1, max_tokens=None)
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "estimated": False}
DONE = RunResult(
    status="done", reason="answered", text="Yes.", steps=1, usage=USAGE, seconds=0.1, model="tiny", error=None
)


def lines(folder: runs.RunFolder) -> list[dict[str, object]]:
    return [json.loads(line) for line in folder.events.read_bytes().split(b"\n")[:-1]]


def test_each_event_is_a_line_on_disk_before_anybody_hears_of_it(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    on_disk: list[int] = []
    with Journal(folder, subscribers=[lambda _: on_disk.append(len(lines(folder)))]) as journal:
        journal.emit(ASKED)
        journal.emit(ASKED)
    assert on_disk == [1, 2]
    assert [(line["seq"], line["kind"], line["id"]) for line in lines(folder)] == [
        (0, "model_asked", folder.id),
        (1, "model_asked", folder.id),
    ]


def test_nothing_follows_the_terminal_event(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    with Journal(folder) as journal:
        journal.end(DONE)
        with pytest.raises(RuntimeError, match="after the run's end"):
            journal.emit(ASKED)
    assert [line["kind"] for line in lines(folder)] == ["run_ended"]
    assert json.loads(folder.result.read_text())["text"] == "Yes."


def test_text_is_written_as_it_is_read(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    with Journal(folder) as journal:
        journal.end(replace(DONE, text="Grüße, 🐟"))
    for file in (folder.events, folder.result):
        assert "Grüße, 🐟" in file.read_text(encoding="utf-8")


def test_a_second_journal_never_writes_into_the_first_ones_file(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    with Journal(folder), pytest.raises(RunError, match="File exists"):
        Journal(folder)


@pytest.mark.promise("S15")
def test_secrets_are_replaced_wherever_they_appear(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    heard: list[Event] = []
    called = ToolCalled(step=1, call_id="1", tool="write", arguments='{"content": "key=sk-123456789-long"}')
    secrets = {"sk-123456789", "sk-123456789-long", "none", ""}
    with Journal(folder, subscribers=[heard.append], secrets=secrets) as journal:
        journal.emit(called)
        written = journal.end(replace(DONE, text="sk-123456789", model="none", error={"a": ["sk-123456789"]}))
    assert "sk-1234" not in folder.events.read_text() + folder.result.read_text() + repr(heard) + repr(written)
    assert json.loads(folder.result.read_text())["error"] == {"a": ["[redacted]"]}
    assert written.model == "none"


@pytest.mark.parametrize(("secret", "written"), [("1234567", "1234567"), ("12345678", "[redacted]")])
def test_a_secret_is_redacted_unless_it_may_be_an_ordinary_word(tmp_path: Path, secret: str, written: str) -> None:
    folder = runs.create(tmp_path)
    with Journal(folder, secrets=[secret]) as journal:
        journal.end(replace(DONE, text=f"It is {secret}."))
    assert json.loads(folder.result.read_text())["text"] == f"It is {written}."


def test_the_longer_of_two_secrets_leaves_no_tail_behind(tmp_path: Path) -> None:
    for secrets in (["sk-12345", "sk-12345-tail"], ["sk-12345-tail", "sk-12345"]):
        folder = runs.create(tmp_path)
        with Journal(folder, secrets=secrets) as journal:
            journal.end(replace(DONE, text="sk-12345-tail sk-12345"))
        assert json.loads(folder.result.read_text())["text"] == "[redacted] [redacted]"


def test_names_and_nested_values_are_redacted_and_keep_their_form(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    heard: list[Event] = []
    said = {"sk-123456789": [{"k": ("sk-123456789", 5, None)}]}
    with Journal(folder, subscribers=[heard.append], secrets=["sk-123456789"]) as journal:
        journal.emit(ToolsRefused(step=1, error=said))
    assert heard == [
        ToolsRefused(
            ts=heard[0].ts, id=folder.id, seq=0, step=1, error={"[redacted]": [{"k": ("[redacted]", 5, None)}]}
        )
    ]


def test_the_result_is_the_terminal_event(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    heard: list[Event] = []
    now = datetime(2026, 11, 22, 16, 51, 56, 43870, tzinfo=UTC)
    with Journal(folder, subscribers=[heard.append], now=lambda: now) as journal:
        journal.emit(ASKED)
        written = journal.end(DONE)
    assert written == replace(DONE, ts="2026-11-22T16:51:56.043870+00:00", id=folder.id, seq=1) == heard[-1]
    assert json.loads(folder.result.read_text()) == {"schema": 1, **lines(folder)[-1]}
    assert lines(folder)[-1] == written.as_dict()


def test_a_journal_is_locked_while_it_is_written_and_no_longer(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    with Journal(folder) as journal:
        assert mutex.is_held(folder.events)
        assert read_run(tmp_path, folder.id).summary.result.status == "running"
        journal.emit(ASKED)
        assert read_run(tmp_path, folder.id).summary.result.status == "running"
    assert not mutex.is_held(folder.events)
    assert folder.events.stat().st_mode & 0o077 == 0


def test_an_event_that_does_not_fit_leaves_the_lines_before_it_whole(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(folder) as journal:
        journal.emit(ASKED)
        journal.emit(ASKED)
        before = folder.events.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
        try:
            with pytest.raises(RunError, match="cannot be written: File too large") as caught:
                journal.emit(ASKED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (caught.value.where, folder.events.read_bytes()) == (str(folder.events), before)
        journal.emit(ASKED)
    assert [line["seq"] for line in lines(folder)] == [0, 1, 2]


def test_a_result_that_cannot_be_put_in_place_is_an_error_after_the_terminal_event(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    folder.result.mkdir()
    with Journal(folder) as journal, pytest.raises(RunError) as caught:
        journal.end(DONE)
    assert caught.value.where == str(folder.result)
    assert [line["text"] for line in lines(folder)] == ["Yes."]


def test_a_subscriber_that_fails_is_dropped_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = runs.create(tmp_path)
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise BrokenPipeError

    with caplog.at_level(logging.ERROR), Journal(folder, subscribers=[broken, heard.append]) as journal:
        journal.emit(ASKED)
        journal.end(DONE)
    assert [event.kind for event in heard] == ["model_asked", "run_ended"]
    assert [record.exc_info is not None for record in caplog.records] == [True]


FULL_DISK = """
import asyncio, json, pathlib, resource, signal, sys
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat
from concierge.errors import RunError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    asyncio.run(run_task(FakeChat(["x" * 20_000]), Task("t", "m"), workspace_root=pathlib.Path(sys.argv[1])))
except RunError as error:
    print(json.dumps(error.as_dict()))
"""


def test_a_record_that_cannot_grow_is_one_sentence_and_still_has_its_end(tmp_path: Path) -> None:
    """A file size limit is a full disk that needs no disk: the write stops half way through a line."""
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert json.loads(child.stdout)["what"].startswith("The run's record cannot be written: ")
    (run,) = (tmp_path / "runs").iterdir()
    kinds = [json.loads(line)["kind"] for line in (run / "events.jsonl").read_bytes().split(b"\n")[:-1]]
    assert kinds == ["run_started", "model_asked", "run_ended"]
    assert json.loads((run / "result.json").read_text())["status"] == "failed"
    assert list(run.glob(".*")) == []
