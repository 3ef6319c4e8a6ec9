from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from concierge.agent import runs
from concierge.agent.events import OTHER_RELEASE, RunResult
from concierge.agent.runs import list_runs, read_run
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall, Usage
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
    folder = runs.create(tmp_path)
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
        read_run(tmp_path, result.id[:-2] + "zz")
    assert caught.value.hint == f"Did you mean {result.id}?"


def test_a_beginning_that_no_other_has_and_the_word_last_name_a_run(play: Play, tmp_path: Path) -> None:
    first, second = play(FakeChat(["One."])), play(FakeChat(["Two."]))
    assert read_run(tmp_path, "last").summary.id == second.id
    assert read_run(tmp_path, first.id[:-2]).summary.id == first.id
    with pytest.raises(UnknownRunError):
        read_run(tmp_path, first.id[:4])


def test_ids_sort_by_time_and_never_collide(tmp_path: Path) -> None:
    made = [runs.create(tmp_path).id for _ in range(50)]
    assert len(set(made)) == 50
    assert runs.ids(tmp_path) == sorted(made)
    assert sorted(name[:22] for name in made) == [name[:22] for name in made]


def test_a_root_is_made_where_it_is_missing_and_a_run_is_private(tmp_path: Path) -> None:
    folder = runs.create(tmp_path / "a" / "b")
    assert folder.path.parent == tmp_path / "a" / "b" / "runs"
    assert [path.stat().st_mode & 0o777 for path in (folder.path, folder.workspace)] == [0o700, 0o700]


def test_a_root_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(RunError, match="cannot be made"):
        runs.create(tmp_path / "root")


def test_a_run_that_was_killed_tells_how_far_it_came(play: Play, tmp_path: Path) -> None:
    call = Reply("Let me look.", tool_calls=[ToolCall("1", "list", "{}")], usage=Usage(10, 5))
    result = play(FakeChat([call, Reply("Empty.", usage=Usage(20, 7))]))
    journal = tmp_path / "runs" / result.id / "events.jsonl"
    *before, _ended = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(before))
    summary = read_run(tmp_path, result.id).summary
    assert (summary.result.status, summary.result.reason, summary.result.exit_code) == ("interrupted", "killed", 130)
    assert (summary.result.text, summary.result.steps, summary.result.model) == ("Empty.", 2, "tiny")
    assert summary.result.usage == {"prompt_tokens": 30, "completion_tokens": 12, "estimated": False}
    assert summary.as_dict() | {"seconds": 0} == {
        "id": result.id, "status": "interrupted", "started": summary.started, "task": "Do it.",
        "path": str(journal.parent), **summary.result.own(), "seconds": 0,
    }  # fmt: skip
    first, last = (datetime.fromisoformat(json.loads(line)["ts"]) for line in (before[0], before[-1]))
    assert summary.result.seconds == round((last - first).total_seconds(), 3)


@pytest.mark.parametrize("change", [{"usage": None}, {"usage": {"tokens": 1}}, {"ts": "yesterday"}, {"ts": 5}])
def test_values_of_another_kind_are_damage_and_no_crash(play: Play, tmp_path: Path, change: dict[str, object]) -> None:
    result = play(FakeChat(["One."]))
    journal = tmp_path / "runs" / result.id / "events.jsonl"
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()[:-1]]
    lines[-1] |= change
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunError, match="other values"):
        read_run(tmp_path, result.id)
    assert [run.result.status for run in list_runs(tmp_path)] == ["unreadable"]


def test_a_journal_of_another_release_says_so(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    journal = tmp_path / "runs" / result.id / "events.jsonl"
    whole = journal.read_text()
    for old, new, what in (
        ('"schema": 1', '"schema": 2', "follows schema 2, and this release 1"),
        ('"kind": "run_ended"', '"kind": "run_done"', "unknown kind 'run_done'"),
        ('"id": ', '"run": ', "other fields"),
    ):
        journal.write_text(whole.replace(old, new))
        with pytest.raises(RunError, match=what) as caught:
            read_run(tmp_path, result.id)
        assert caught.value.hint == OTHER_RELEASE
        (run,) = list_runs(tmp_path)
        assert (run.id, run.task, run.result.error) == (result.id, "", caught.value.as_dict())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everywhere")
def test_a_journal_that_may_not_be_read_is_one_sentence(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    (tmp_path / "runs" / result.id / "events.jsonl").chmod(0)
    with pytest.raises(RunError, match="cannot be read"):
        read_run(tmp_path, result.id)


def test_a_journal_that_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    folder = runs.create(tmp_path)
    folder.events.mkdir()
    with pytest.raises(RunError, match="journal cannot be read") as caught:
        read_run(tmp_path, folder.id)
    assert caught.value.where == str(folder.events)


def test_the_line_that_is_damaged_is_named(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    journal = tmp_path / "runs" / result.id / "events.jsonl"
    first, _, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([first, b"{\n", *rest]))
    with pytest.raises(RunError) as caught:
        read_run(tmp_path, result.id)
    assert caught.value.where == f"{journal}:2"


def test_what_stands_beside_the_runs_is_no_run(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat(["One."]))
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "20260101-000000-000000-000000").touch()
    (tmp_path / "runs" / "20260101-000000-000000-000001").symlink_to(result.id)
    assert runs.ids(tmp_path) == [result.id]


def test_runs_that_cannot_be_listed_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(RunError, match="cannot be read"):
        list_runs(tmp_path)


def test_an_unknown_id_is_shown_up_to_a_length_and_with_where_runs_are(tmp_path: Path) -> None:
    for length, shown in ((80, "x" * 80), (81, "x" * 77 + "...")):
        with pytest.raises(UnknownRunError) as caught:
            read_run(tmp_path, "x" * length)
        assert caught.value.what == f"No run has the id {shown!r}."
        assert caught.value.hint == "`concierge runs list` shows every run."
        assert caught.value.where == str(tmp_path / "runs")
