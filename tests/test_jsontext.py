from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.jsontext import DEEPEST, first, parse, parse_object

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def nested(depth: int) -> str:
    return "[" * (depth - depth // 2) + '{"a": ' * (depth // 2) + "1" + "}" * (depth // 2) + "]" * (depth - depth // 2)


@given(VALUES)
def test_what_was_written_is_read_from_text_and_from_bytes(value: Any) -> None:
    text = json.dumps(value)
    assert parse(text) == parse(text.encode()) == parse(text.encode("utf-16")) == value
    assert first(text + " rest") == (value, len(text))


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", "[] []", "nul", b"\xff\xff", b'"\xff"', "[" * 100_000, "1" * 5000]
)
def test_every_other_text_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse(text)
    assert parse_object(text) is None


def test_nesting_is_bounded_and_breadth_is_not() -> None:
    assert parse(nested(DEEPEST)) == first(nested(DEEPEST))[0]
    for depth in (DEEPEST + 1, 900, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse(nested(depth))
        with pytest.raises(ValueError, match="nested too deeply"):
            first(nested(depth))
    assert len(parse(json.dumps([[{}]] * 10_000))) == 10_000
    assert parse(json.dumps("[{" * 1000)) == "[{" * 1000


@pytest.mark.parametrize(("text", "value"), [('{"a": 1}', {"a": 1}), (b"{}", {}), ("[{}]", None), ('"{}"', None)])
def test_only_an_object_is_an_object(text: str | bytes, value: object) -> None:
    assert parse_object(text) == value
