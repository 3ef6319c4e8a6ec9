from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from concierge.agent import folder as folders
from concierge.agent.events import RunResult
from concierge.agent.runs import list_runs, read_run
from concierge.chat.fake import FakeChat
from concierge.errors import RunError, UnknownRunError

if TYPE_CHECKING:
    from pathlib import Path

Play = Callable[..., RunResult]


def test_runs_are_listed_newest_first_with_how_they_ended(play: Play, tmp_path: Path) -> None:
    first = play(FakeChat(["One."]))
    second = play(FakeChat([""]))
    listed = list_runs(tmp_path)
    assert [(run.id, run.result.status, run.result.reason, run.result.text) for run in listed] == [
        (second.id, "stopped", "empty", ""),
        (first.id, "done", "answered", "One."),
    ]
    assert [run.id for run in list_runs(tmp_path, limit=1)] == [second.id]
    assert json.loads(json.dumps(listed[1].as_dict()))["task"] == "Do it."


def test_a_folder_without_runs_has_none(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


def test_a_run_is_read_back_whole(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    run = read_run(tmp_path, result.id)
    assert [event.kind for event in run.events] == ["run_started", "model_asked", "model_replied", "run_ended"]
    assert (run.summary.result, run.summary.id) == (result, result.id)
    assert run.summary.started == run.events[0].ts
    assert [event["kind"] for event in json.loads(json.dumps(run.as_dict()))["events"]][-1] == "run_ended"
    assert not run.torn


def test_a_journal_that_ends_in_half_a_line_is_a_run_that_was_killed(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    journal = tmp_path / "runs" / result.id / "events.jsonl"
    os.truncate(journal, journal.stat().st_size - 20)
    run = read_run(tmp_path, result.id)
    assert (run.summary.result.reason, run.torn, len(run.events)) == ("killed", True, 3)
    assert run.summary.task == "Do it."


def test_a_run_that_was_killed_before_its_first_event_is_still_a_run(tmp_path: Path) -> None:
    folder = folders.create(tmp_path)
    (run,) = list_runs(tmp_path)
    assert run == read_run(tmp_path, folder.id).summary
    assert (run.id, run.started, run.task, run.result.status, run.result.reason) == (
        folder.id,
        "",
        "",
        "interrupted",
        "killed",
    )


@pytest.mark.parametrize(
    "line",
    [
        b"not json\n", b"[]\n", b"[" * 100_000 + b"\n", b'{"kind": "other"}\n', b'{"kind": []}\n',
        b'{"kind": "run_ended"}\n', b'{"kind": "run_started", "schema": 2}\n', b"\xff\n", b"\n",
    ],
)  # fmt: skip
def test_a_damaged_journal_is_an_error_and_hides_no_other_run(play: Play, tmp_path: Path, line: bytes) -> None:
    good = play(FakeChat(["One."]))
    bad = play(FakeChat(["Two."]))
    journal = tmp_path / "runs" / bad.id / "events.jsonl"
    journal.write_bytes(line + journal.read_bytes())
    with pytest.raises(RunError):
        read_run(tmp_path, bad.id)
    assert [(run.id, run.result.status) for run in list_runs(tmp_path)] == [
        (bad.id, "unreadable"),
        (good.id, "done"),
    ]


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../..", "/etc", "%2e%2e", "x" * 500, "20260101-000000-000000-000000\n"]
)
def test_a_text_that_is_no_id_finds_nothing(play: Play, tmp_path: Path, run_id: str) -> None:
    play(FakeChat(["One."]))
    with pytest.raises(UnknownRunError):
        read_run(tmp_path, run_id)


def test_an_unknown_id_names_the_nearest_one(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    with pytest.raises(UnknownRunError) as caught:
        read_run(tmp_path, result.id[:-2])
    assert caught.value.hint == f"Did you mean {result.id}?"


def test_ids_sort_by_time_and_never_collide(tmp_path: Path) -> None:
    made = [folders.create(tmp_path).id for _ in range(50)]
    assert len(set(made)) == 50
    assert folders.ids(tmp_path) == sorted(made)
    assert sorted(name[:22] for name in made) == [name[:22] for name in made]


def test_a_root_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(RunError, match="cannot be made"):
        folders.create(tmp_path / "root")
