from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from concierge.errors import ServerError
from concierge.paths import Home
from concierge.server.processes import table
from concierge.server.record import Record, RecordFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> RecordFile:
    return RecordFile(Home(tmp_path))


def record(**more: Any) -> Record:
    me = table.myself()
    made = Record(3, "ready", "mark", "wish", "engine", "tiny", "the.log", me, me, (me, me))
    return replace(made, base_url="http://127.0.0.1:1/v1", api_key="sekret", context=512, **more)


def test_what_was_written_is_read(file: RecordFile) -> None:
    assert file.read() is None
    for written in (record(), replace(record(), identity=None, waiters=(), base_url=None, api_key=None)):
        file.write(written)
        assert file.read() == written
    assert {entry.name for entry in file.path.parent.iterdir()} == {file.path.name}


def test_the_key_is_not_shown(file: RecordFile) -> None:
    assert "sekret" not in repr(record())


def test_a_record_says_where_its_server_answers() -> None:
    endpoint = record().endpoint
    assert endpoint is not None
    assert (endpoint.base_url, endpoint.model, endpoint.api_key) == ("http://127.0.0.1:1/v1", "tiny", "sekret")
    assert endpoint.owned
    assert replace(record(), base_url=None).endpoint is None


def test_launches_are_counted_also_over_those_that_are_gone(file: RecordFile) -> None:
    assert file.next_generation() == 1
    file.write(record())
    assert file.next_generation() == 4
    file.clear(record())
    assert (file.read(), file.next_generation()) == (None, 4)


def test_another_launch_is_not_cleared(file: RecordFile) -> None:
    file.write(record())
    file.clear(replace(record(), launch="another"))
    assert file.read() == record()


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 2},
        {"state": "asleep"},
        {"state": None},
        {"launch": ""},
        {"generation": True},
        {"generation": "3"},
        {"more": 1},
        {"starter": None},
        {"starter": {"pid": 7}},
        {"identity": {}},
        {"identity": "7"},
        {"waiters": [1]},
        {"waiters": None},
        {"base_url": "http://192.0.2.1/v1"},
        {"base_url": "nowhere"},
        {"base_url": 7},
        {"base_url": ["http://127.0.0.1/v1"]},
        {"api_key": "a\nb"},
    ],
)
def test_a_record_with_anything_wrong_is_damaged(file: RecordFile, damage: dict[str, Any]) -> None:
    file.write(record())
    file.path.write_text(json.dumps({**json.loads(file.path.read_text()), **damage}))
    with pytest.raises(ServerError, match="is damaged, so nothing is stopped or started") as caught:
        file.read()
    assert caught.value.where == str(file.path)
    assert caught.value.hint == "End the server by hand if one runs, then remove that file."


@pytest.mark.parametrize("missing", ["state", "launch", "starter", "schema", "model"])
def test_a_record_that_lacks_something_is_damaged(file: RecordFile, missing: str) -> None:
    file.write(record())
    document = json.loads(file.path.read_text())
    del document[missing]
    file.path.write_text(json.dumps(document))
    with pytest.raises(ServerError, match="is damaged"):
        file.read()


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "\0", pytest.param("[" * 100_000, id="deep")])
def test_what_is_no_record_is_damaged_for_whoever_reads_it(file: RecordFile, text: str) -> None:
    file.path.parent.mkdir(parents=True)
    file.path.write_text(text)
    for read in (file.read, file.next_generation, lambda: file.clear(record())):
        with pytest.raises(ServerError, match="is damaged"):
            read()


def test_a_record_that_cannot_be_read_is_a_sentence(file: RecordFile) -> None:
    file.path.mkdir(parents=True)
    with pytest.raises(ServerError, match="Cannot read") as caught:
        file.read()
    assert caught.value.where == str(file.path)


def test_a_count_that_is_none_begins_again(file: RecordFile) -> None:
    file.path.parent.mkdir(parents=True)
    file.path.write_text(json.dumps({"schema": 1, "state": "absent", "generation": "many"}))
    assert file.next_generation() == 1
