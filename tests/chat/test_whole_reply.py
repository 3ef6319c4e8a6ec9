import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.chat.failure import StreamFailure
from concierge.chat.port import Reply, Usage
from concierge.chat.stream import ReplyStream, parse_reply
from concierge.errors import ReplyError


def body(message: Any = None, **choice: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, **choice}], "model": "m"}).encode()


def parsed(document: Any) -> Reply:
    return parse_reply(json.dumps(document).encode())


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
