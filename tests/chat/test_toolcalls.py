from typing import Any

import pytest

from concierge.chat.port import ToolCall, identified
from concierge.chat.toolcalls import CallJoiner, numbered


def joined(*pieces: Any) -> list[tuple[str, str, str]]:
    joiner = CallJoiner()
    for piece in pieces:
        joiner.add(piece)
    return [(call.id, call.name, call.arguments) for call in joiner.calls()]


def whole_calls(entries: Any) -> tuple[ToolCall, ...]:
    joiner = CallJoiner()
    for entry in numbered(entries):
        joiner.add(entry)
    return joiner.calls()


def piece(index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    return {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}


def test_arguments_in_pieces_are_one_call() -> None:
    assert joined(piece(0, "a", "read", ""), piece(0, None, None, '{"x"'), piece(0, None, None, ":1}")) == [
        ("a", "read", '{"x":1}')
    ]


def test_a_new_id_under_a_used_index_is_a_new_call() -> None:
    assert joined(piece(0, "a", "read", "{}"), piece(0, "b", "list", "{}")) == [
        ("a", "read", "{}"),
        ("b", "list", "{}"),
    ]


def test_an_id_that_is_repeated_in_every_piece_is_one_call() -> None:
    assert joined(piece(0, "a", "read", '{"x"'), piece(0, "a", "read", ":1}")) == [("a", "read", '{"x":1}')]


def test_a_new_name_without_an_id_is_a_new_call() -> None:
    assert joined(piece(0, None, "read", "{}"), piece(0, None, "list", "{}")) == [
        ("call00001", "read", "{}"),
        ("call00002", "list", "{}"),
    ]


def test_the_same_name_again_is_a_new_call_only_after_whole_arguments() -> None:
    assert joined(piece(0, None, "read", "{}"), piece(0, None, "read", "{}")) == [
        ("call00001", "read", "{}"),
        ("call00002", "read", "{}"),
    ]
    assert joined(piece(0, None, "read", '{"x"'), piece(0, None, "read", ":1}")) == [("call00001", "read", '{"x":1}')]


def test_without_index_the_id_tells_calls_apart_and_the_rest_continues_the_last() -> None:
    assert joined(
        piece(None, "a", "read", '{"x"'),
        piece(None, "b", "list", "{"),
        piece(None, "a", None, ":1}"),
        piece(None, None, None, "}"),
    ) == [("a", "read", '{"x":1}'), ("b", "list", "{}")]


def test_interleaved_indexes_are_kept_apart() -> None:
    assert joined(piece(1, "a", "read", "{"), piece(2, "b", "list", "{"), piece(1, None, None, "}"), piece(2, "b")) == [
        ("a", "read", "{}"),
        ("b", "list", "{"),
    ]


def test_a_name_in_pieces_is_joined() -> None:
    assert joined(piece(0, "a", "read_"), piece(0, None, None), piece(0, "a", "file")) == [("a", "read_file", "{}")]


def test_an_id_that_comes_late_is_taken() -> None:
    assert joined(piece(0, None, "read", "{"), piece(0, "a", None, "}")) == [("a", "read", "{}")]


def test_ids_that_repeat_within_a_reply_are_replaced() -> None:
    assert [call_id for call_id, _, _ in joined(piece(0, "x", "a"), piece(1, "x", "b"), piece(2, "", "c"))] == [
        "x",
        "call00001",
        "call00002",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"path": "a"}, '{"path": "a"}'),
        (["a"], '["a"]'),
        ('"a"', '"a"'),
        (None, "{}"),
        ("", "{}"),
        (7, "7"),
        ('{"path": "a', '{"path": "a'),
        ('{"path": "a"}""', '{"path": "a"}""'),
        ('{"path": "a"}{"path": "b"}', '{"path": "a"}{"path": "b"}'),
    ],
)
def test_arguments_of_any_form_arrive_as_text(arguments: Any, text: str) -> None:
    entry = {"id": "x", "type": "function", "function": {"name": "read", "arguments": arguments}}
    assert whole_calls([entry]) == (ToolCall("x", "read", text),)
    assert joined(piece(0, "x", "read", arguments)) == [("x", "read", text)]


@pytest.mark.parametrize("entries", [None, "text", 3, [], [None], ["x"], {}])
def test_what_is_not_a_list_of_calls_is_no_call(entries: Any) -> None:
    assert whole_calls(entries) == ()


@pytest.mark.parametrize(
    "entry", [{}, {"function": None}, {"function": "read"}, {"id": 7, "index": [], "function": {}}]
)
def test_a_call_without_a_name_is_kept_for_the_runner_to_refuse(entry: dict[str, Any]) -> None:
    assert joined(entry) == [("call00001", "", "{}")]
    assert len(whole_calls([entry])) == 1


def test_whole_calls_with_the_same_index_stay_apart() -> None:
    entries = [{"index": 0, "function": {"name": "read", "arguments": part}} for part in ("{", "}")]
    assert [call.arguments for call in whole_calls(entries)] == ["{", "}"]


def test_an_id_is_kept_unless_it_is_missing_or_taken() -> None:
    used = {"x", "call00001"}
    calls = [ToolCall(call_id, "read", "{}") for call_id in ("", "x", "y", "y")]
    own = [call.id for call in identified(calls, used)]
    assert own == ["call00002", "call00003", "y", "call00004"]
    assert used == {"x", "call00001", *own}


def test_made_ids_are_nine_letters_and_digits_and_differ() -> None:
    made = {call.id for call in identified([ToolCall("", "read", "{}")] * 100, set())}
    assert len(made) == 100
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in made)
