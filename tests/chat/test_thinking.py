from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.chat.thinking import ThinkSplitter, reasoning_of, text_of


def parted(*pieces: str) -> tuple[str, str]:
    splitter = ThinkSplitter()
    parts = [*map(splitter.feed, pieces), splitter.flush()]
    return "".join(answer for answer, _ in parts), "".join(thought for _, thought in parts)


@pytest.mark.parametrize(
    ("text", "answer", "thought"),
    [
        ("Paris.", "Paris.", ""),
        ("<think>Hm.</think>Paris.", "Paris.", "Hm."),
        ("\n <think>Hm.</think>\n\nParis. ", "Paris. ", "Hm."),
        ("<think></think>Paris.", "Paris.", ""),
        ("<think>cut", "", "cut"),
        ("<think>cut </thi", "", "cut </thi"),
        ("<thin", "<thin", ""),
        ("<thinner> is a tag", "<thinner> is a tag", ""),
        ("Paris. <think>no</think>", "Paris. <think>no</think>", ""),
        ("<think>a</think><think>b</think>", "<think>b</think>", "a"),
        ("  ", "  ", ""),
        ("", "", ""),
    ],
)
def test_only_a_leading_block_is_thinking(text: str, answer: str, thought: str) -> None:
    assert parted(text) == (answer, thought)
    assert parted(*text) == (answer, thought)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "thi", "nk>", "/", " ", "\n", "a"]), max_size=10))
def test_the_parts_are_the_same_however_the_text_is_cut(pieces: list[str]) -> None:
    assert parted(*pieces) == parted("".join(pieces)) == parted(*"".join(pieces))


def test_thinking_is_shown_while_it_comes() -> None:
    splitter = ThinkSplitter()
    assert splitter.feed("<think>one ") == ("", "one ")
    assert splitter.feed("two</") == ("", "two")
    assert splitter.feed("think>three") == ("three", "")
    assert splitter.done


@pytest.mark.parametrize(
    ("message", "thought"),
    [
        ({"reasoning_content": "a"}, "a"),
        ({"reasoning": "b"}, "b"),
        ({"reasoning_content": None, "reasoning": "b"}, "b"),
        ({"reasoning": {"content": "c"}}, "c"),
        ({"reasoning": {"summary": [{"type": "summary_text", "text": "d"}]}}, "d"),
        ({"reasoning": 7}, ""),
        ({}, ""),
    ],
)
def test_thinking_is_found_in_either_field_and_any_form(message: dict[str, Any], thought: str) -> None:
    assert reasoning_of(message) == thought


def test_text_of_parts_is_joined() -> None:
    assert text_of([{"type": "text", "text": "a"}, "b", None, {"type": "image_url"}]) == "ab"
