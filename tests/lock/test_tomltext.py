from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from concierge.lock.tomltext import dumps

text = st.text(st.characters(exclude_categories=["Cs"]))
scalar = text | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False)
value = scalar | st.lists(scalar, max_size=3)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    table = st.dictionaries(text, inner, min_size=1, max_size=3)
    return table | st.lists(table, min_size=1, max_size=3)


document = st.dictionaries(text, st.recursive(value, nested, max_leaves=8), max_size=4)


def without_mixed_lists(item: object) -> bool:
    if isinstance(item, dict):
        return all(without_mixed_lists(value) for value in item.values())
    if isinstance(item, list):
        return len({isinstance(value, dict) for value in item}) < 2 and all(map(without_mixed_lists, item))
    return True


@given(document.filter(without_mixed_lists))
def test_what_is_written_reads_back_as_the_same_document(written: dict[str, Any]) -> None:
    assert tomllib.loads(dumps(written)) == written


def test_every_field_has_a_line_of_its_own() -> None:
    written = dumps({"a": 1, "t": {"b": "x", "l": ["p", "q"]}, "r": [{"c": True}, {"c": False}]})
    assert written == 'a = 1\n\n[t]\nb = "x"\nl = [\n  "p",\n  "q",\n]\n\n[[r]]\nc = true\n\n[[r]]\nc = false\n'
