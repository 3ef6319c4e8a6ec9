import contextlib
import json
from collections import deque
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.chat.failure import StreamFailure
from concierge.chat.port import ChatOptions, Reply, Usage
from concierge.chat.stream import ReplyStream, parse_reply
from concierge.chat.wire import encode, mend, request_body
from concierge.errors import ReplyError


def body(message: Any = None, **choice: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, **choice}], "model": "m"}).encode()


def parsed(document: Any) -> Reply:
    return parse_reply(json.dumps(document).encode())


def test_what_is_none_is_left_to_the_server() -> None:
    nothing: ChatOptions = {"temperature": None, "tools": None, "on_delta": None}
    assert request_body([], "m", nothing, limit_name="max_tokens") == {"model": "m", "messages": [], "stream": False}


def test_options_are_sent_under_the_names_of_the_dialect() -> None:
    options: ChatOptions = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 5, "on_delta": print}
    assert request_body([], "m", options, limit_name="max_completion_tokens") == {
        "model": "m",
        "messages": [],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "top_p": 0.9,
        "max_completion_tokens": 5,
    }


def test_a_choice_among_no_tools_is_not_sent() -> None:
    sent = request_body([], "m", {"tools": [], "tool_choice": "auto"}, limit_name="max_tokens")
    assert not {"tools", "tool_choice"} & sent.keys()
    tools = [{"type": "function"}]
    sent = request_body([], "m", {"tools": tools, "tool_choice": "auto"}, limit_name="max_tokens")
    assert (sent["tools"], sent["tool_choice"]) == (tools, "auto")


def test_an_option_that_does_not_exist_is_the_callers_fault() -> None:
    with pytest.raises(TypeError, match="no option 'temprature'"):
        request_body([], "m", cast("ChatOptions", {"temprature": 1}), limit_name="max_tokens")


def test_any_mapping_and_sequence_can_be_sent() -> None:
    assert encode({"messages": deque([MappingProxyType({"role": "user"})])}) == b'{"messages":[{"role":"user"}]}'


def test_what_is_not_json_is_the_callers_fault() -> None:
    with pytest.raises(TypeError, match="object cannot be sent as JSON"):
        encode({"messages": object()})


def test_text_that_is_not_unicode_is_mended_before_it_is_sent() -> None:
    assert json.loads(encode({"a": "x\udc80", "b": "\ud83d\udc4b", "c": "ü"})) == {"a": "x\ufffd", "b": "👋", "c": "ü"}


def test_a_plain_reply_is_its_text() -> None:
    reply = parse_reply(
        b'{"choices":[{"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],'
        b'"model":"m","usage":{"prompt_tokens":3,"completion_tokens":2}}'
    )
    assert reply == "Paris."
    assert (reply.finish_reason, reply.usage, reply.model, reply.tool_calls) == ("stop", Usage(3, 2), "m", ())


def test_length_is_passed_on() -> None:
    assert parse_reply(body({"content": "cut"}, finish_reason="length")).finish_reason == "length"


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<think>Hm.</think>\nYes"},
        {"content": "Yes", "reasoning_content": "Hm."},
        {"content": "Yes", "reasoning": {"content": " Hm.\n"}},
        {"content": [{"type": "text", "text": "Yes"}], "reasoning": "Hm."},
    ],
)
def test_thinking_is_kept_apart(message: dict[str, Any]) -> None:
    reply = parse_reply(body(message))
    assert (str(reply), reply.reasoning) == ("Yes", "Hm.")


@pytest.mark.parametrize("content", [None, 7, {}, []])
def test_content_that_is_no_text_is_empty(content: Any) -> None:
    assert parse_reply(body({"content": content})) == ""


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "empty body"),
        (b" \n", "empty body"),
        (b"<html>hello</html>", "not JSON: <html>hello</html>"),
        (b'{"choices"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a chat completion"),
        (b'"text"', "not a chat completion"),
        (b"{}", "no choice with a message"),
        (b'{"choices":[]}', "no choice with a message"),
        (b'{"choices":null}', "no choice with a message"),
        (b'{"choices":[{}]}', "no choice with a message"),
        (b'{"choices":[{"message":null}]}', "no choice with a message"),
        (b'{"choices":["x"]}', "no choice with a message"),
        (b'{"object":"list","data":[]}', "no choice with a message"),
    ],
)
def test_what_is_not_a_completion_is_said_to_be_none(document: bytes, says: str) -> None:
    with pytest.raises(ReplyError, match=says):
        parse_reply(document)


@pytest.mark.parametrize(
    "error", [b'{"error":{"message":"out of memory"}}', b'{"object":"error","message":"out of memory","code":400}']
)
def test_an_error_under_a_good_status_is_an_error(error: bytes) -> None:
    with pytest.raises(StreamFailure, match="out of memory"):
        parse_reply(error)
    with pytest.raises(StreamFailure, match="out of memory"):
        ReplyStream().add(error)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": None, "completion_tokens": 2}, Usage(0, 2)),
        ({"prompt_tokens": "3"}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_only_counts_are_usage(usage: Any, expected: Usage | None) -> None:
    assert parsed({"choices": [{"message": {"content": ""}}], "usage": usage}).usage == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "tool_calls", "function", "arguments", "id", "error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_json_whatever_crashes_the_parser(document: Any, message: Any) -> None:
    for odd in (document, {"choices": [{"message": message}]}, {"choices": [{"message": {"tool_calls": message}}]}):
        with contextlib.suppress(ReplyError, StreamFailure):
            assert isinstance(parsed(odd), Reply)


@pytest.mark.parametrize(("text", "mended"), [("a", "a"), ("\ud83d\udc4b", "👋"), ("a\ud83d", "a\ufffd"), ("ü", "ü")])
def test_surrogates_are_mended(text: str, mended: str) -> None:
    assert mend(text) == mended
