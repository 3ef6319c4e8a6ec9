from __future__ import annotations

import contextlib
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
