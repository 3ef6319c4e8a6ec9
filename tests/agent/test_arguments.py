from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.agent.arguments import BadCallError, parse

EXAMPLE = '{"path": "notes.txt"}'


def read(raw: object) -> dict[str, Any]:
    return parse(raw, first="path", example=EXAMPLE)


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        ('{"path": "a"}', {"path": "a"}),
        ({"path": "a"}, {"path": "a"}),
        ('  {"path": "a"}\n', {"path": "a"}),
        ('"{\\"path\\": \\"a\\"}"', {"path": "a"}),
        ('[{"path": "a"}]', {"path": "a"}),
        ('{"path": "a"}"', {"path": "a"}),
        ('{"path": "a"}\'\'`', {"path": "a"}),
        ('{"path": "a", "start": null}', {"path": "a"}),
        ('"a"', {"path": "a"}),
        ("7", {"path": 7}),
        ("1.5", {"path": 1.5}),
        (7, {"path": 7}),
        ("  ", {}),
        ([{"path": "a"}], {"path": "a"}),
        ({"path": "a", "start": None, "end": 0, "more": ""}, {"path": "a", "end": 0, "more": ""}),
        ("null", {}),
        (None, {}),
        ("", {}),
        ("{}", {}),
    ],
)
def test_every_form_with_one_meaning_is_understood(raw: object, arguments: dict[str, Any]) -> None:
    assert read(raw) == arguments


@pytest.mark.parametrize(
    "raw",
    ['{"path": "a', "{'path': 'a'}", "a.txt", '["a"]', "[]", '{"path": "a"}{"path": "b"}', "[" * 100_000, "true and"],
)
def test_every_other_form_is_an_error_that_says_what_to_send(raw: str) -> None:
    with pytest.raises(BadCallError) as caught:
        read(raw)
    assert EXAMPLE in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_bare_value_is_refused_where_no_argument_must_be_given() -> None:
    with pytest.raises(BadCallError):
        parse('"a"', first=None, example="{}")


@given(st.text() | st.none() | st.dictionaries(st.text(), st.integers()) | st.lists(st.text()))
def test_no_argument_text_crashes(raw: object) -> None:
    with contextlib.suppress(BadCallError):
        assert isinstance(read(raw), dict)


def nested(times: int) -> str:
    text = '{"path": "a"}'
    for _ in range(times):
        text = json.dumps(text)
    return text


def test_an_object_is_found_in_one_string_and_no_deeper() -> None:
    assert read(nested(1)) == {"path": "a"}
    assert read(nested(2)) == {"path": nested(1)}


def test_text_that_merely_looks_like_json_inside_a_string_is_a_value() -> None:
    assert read('"[1]"') == {"path": "[1]"}
    assert read('"  a"') == {"path": "  a"}
    with pytest.raises(BadCallError, match="not complete"):
        read('" {"')


def test_two_objects_in_a_list_are_not_one_call() -> None:
    with pytest.raises(BadCallError, match="The arguments are a list"):
        read([{"path": "a"}, {"path": "b"}])


@pytest.mark.parametrize(("length", "shown"), [(80, "x" * 80), (81, "x" * 77 + "...")])
def test_what_was_wrong_is_shown_up_to_a_length(length: int, shown: str) -> None:
    with pytest.raises(BadCallError) as caught:
        read("x" * length)
    assert f"not complete JSON: {shown}. " in str(caught.value)
