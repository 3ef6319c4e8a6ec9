from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from concierge import mutex
from concierge.errors import ServerError
from concierge.paths import Home
from concierge.server import record as records
from concierge.server.processes import table
from concierge.server.record import KEPT, Folder, Record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def folder(home: Home) -> Folder:
    return Folder(home, "mark")


def record(place: Home, **more: Any) -> Record:
    made = Record("mark", 3.0, "here", records.place(place), "ready", "wish", "engine", "tiny", "the.log")
    told = replace(made, identity=table.myself(), base_url="http://127.0.0.1:1/v1", api_key="sekret", context=512)
    return replace(told, **more)


def test_what_was_written_is_read(home: Home, folder: Folder) -> None:
    assert folder.read() is None
    for written in (record(home), record(home, identity=None, base_url=None, api_key=None)):
        folder.write(written)
        assert folder.read() == written
    assert {entry.name for entry in folder.path.iterdir()} == {folder.file.name}


def test_the_key_is_not_shown(home: Home) -> None:
    assert "sekret" not in repr(record(home))


def test_a_record_says_where_its_server_answers(home: Home) -> None:
    endpoint = record(home).endpoint
    assert endpoint is not None
    assert (endpoint.base_url, endpoint.model, endpoint.api_key) == ("http://127.0.0.1:1/v1", "tiny", "sekret")
    assert endpoint.owned
    assert record(home, base_url=None).endpoint is None


def test_records_are_read_newest_first_and_a_cleared_one_is_none(home: Home) -> None:
    assert records.recorded(home) == []
    made = [record(home, launch=f"mark{number}", began=float(number)) for number in range(3)]
    for each in made:
        Folder(home, each.launch).write(each)
    assert records.recorded(home) == made[::-1]
    Folder(home, "mark1").clear()
    assert [each.launch for each in records.recorded(home)] == ["mark2", "mark0"]


def test_a_record_of_a_copied_home_is_the_originals(home: Home, folder: Folder) -> None:
    folder.write(record(home, home="/the/original"))
    assert records.recorded(home) == []
    with mutex.held_file(folder.alive):  # It was not copied but moved, or it has another name in that container.
        assert len(records.recorded(home)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 1},
        {"state": "asleep"},
        {"state": None},
        {"launch": ""},
        {"launch": "../../elsewhere"},
        {"launch": 7},
        {"began": "3"},
        {"kind": "daemon"},
        {"more": 1},
        {"machine": None},
        {"home": None},
        {"model": 7},
        {"identity": {}},
        {"identity": "7"},
        {"base_url": "http://192.0.2.1/v1"},
        {"base_url": "nowhere"},
        {"base_url": 7},
        {"base_url": ["http://127.0.0.1/v1"]},
        {"api_key": "a\nb"},
    ],
)
def test_a_record_with_anything_wrong_says_nothing(home: Home, folder: Folder, damage: dict[str, Any]) -> None:
    folder.write(record(home))
    folder.file.write_text(json.dumps({**json.loads(folder.file.read_text()), **damage}))
    assert folder.read() is None
    assert records.recorded(home) == []


@pytest.mark.parametrize("missing", ["state", "launch", "schema", "model"])
def test_a_record_that_lacks_something_says_nothing(home: Home, folder: Folder, missing: str) -> None:
    folder.write(record(home))
    document = json.loads(folder.file.read_text())
    del document[missing]
    folder.file.write_text(json.dumps(document))
    assert folder.read() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "\0", pytest.param("[" * 100_000, id="deep")])
def test_what_is_no_record_says_nothing(folder: Folder, text: str) -> None:
    folder.make()
    folder.file.write_text(text)
    assert folder.read() is None


def test_a_record_that_cannot_be_read_is_a_sentence(folder: Folder) -> None:
    folder.file.mkdir(parents=True)
    with pytest.raises(ServerError, match="Cannot read") as caught:
        folder.read()
    assert caught.value.where == str(folder.file)


def test_a_launch_lives_as_long_as_its_lock_is_held(folder: Folder) -> None:
    assert not folder.held()
    folder.make()
    with mutex.held_file(folder.alive):
        assert folder.held()
    assert not folder.held()


@pytest.mark.parametrize("written", [None, "", "many"])
def test_an_end_that_nobody_noted_is_not_known(folder: Folder, written: str | None) -> None:
    folder.make()
    folder.note_end(-9)
    assert folder.end() == -9
    if written is None:
        (folder.path / "ended").unlink()
    else:
        (folder.path / "ended").write_text(written)
    assert folder.end() is None


def test_old_logs_are_forgotten_and_no_launch_that_is_recorded_lives_or_was_in_use(home: Home) -> None:
    for number in range(KEPT + 3):
        Folder(home, f"over{number}").make()
    recorded, living, used = Folder(home, "recorded"), Folder(home, "living"), Folder(home, "used")
    recorded.write(record(home, launch="recorded"))
    for folder in (living, used):
        folder.make()
    with mutex.held_file(living.alive), mutex.held_file(used.lease()):
        records.forget_old(home)
    left = {entry.name for entry in recorded.path.parent.iterdir()}
    assert {"recorded", "living", "used"} < left
    assert len(left) == KEPT - 1 + 3
