"""Recorded streams of each server, with the reply or the error that they are."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.chat.failure import StreamFailure
from concierge.chat.port import Delta, Reply, Usage
from concierge.chat.sse import SseDecoder
from concierge.chat.stream import ReplyStream
from concierge.errors import ReplyError

STREAMS = sorted((Path(__file__).parent / "streams").glob("*.sse"))
RECORDED = {path.stem: path.read_bytes() for path in STREAMS}


def read(chunks: list[bytes]) -> tuple[Reply, list[Delta]]:
    stream, events = ReplyStream(), SseDecoder()
    shown = [stream.add(payload) for chunk in chunks for payload in events.feed(chunk)]
    shown += stream.end(events.flush())
    return stream.reply(), [delta for delta in shown if delta is not None]


def outcome(chunks: list[bytes]) -> dict[str, Any]:
    try:
        reply, _ = read(chunks)
    except ReplyError as error:
        return {"error": "ReplyError", "says": error.what}
    except StreamFailure as error:
        return {"error": "StatusError", "says": error.failure.message}
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.tool_calls]
    return {
        "content": str(reply),
        "reasoning": reply.reasoning,
        "tool_calls": calls,
        "finish_reason": reply.finish_reason,
        "usage": [reply.usage.prompt_tokens, reply.usage.completion_tokens] if reply.usage else None,
        "model": reply.model,
    }


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_each_recorded_stream_is_the_reply_that_it_is(path: Path) -> None:
    wanted = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    found = outcome([path.read_bytes()])
    if "error" in wanted:
        assert found["error"] == wanted["error"]
        assert wanted["says"] in found["says"]
    else:
        assert found == {"reasoning": "", "tool_calls": [], "usage": None, "model": None, **wanted}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_byte_by_byte_is_the_same_reply(name: str) -> None:
    stream = RECORDED[name]
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == outcome([stream])


@given(st.sampled_from(sorted(RECORDED)), st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_of_a_recorded_stream_is_the_same_reply(name: str, cuts: list[int]) -> None:
    stream = RECORDED[name]
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    assert outcome([stream[a:b] for a, b in itertools.pairwise(places)]) == outcome([stream])


@given(st.sampled_from(sorted(RECORDED)), st.integers(min_value=0))
def test_a_recorded_stream_that_breaks_off_anywhere_never_crashes(name: str, cut: int) -> None:
    stream = RECORDED[name]
    outcome([stream[: cut % (len(stream) + 1)]])


@pytest.mark.parametrize("name", [name for name in RECORDED if "error" not in outcome([RECORDED[name]])])
def test_what_is_shown_joins_to_the_reply(name: str) -> None:
    reply, deltas = read([RECORDED[name]])
    assert "".join(delta.content for delta in deltas) == reply
    assert "".join(delta.reasoning for delta in deltas).strip() == reply.reasoning
    assert all(delta != Delta() for delta in deltas)


def test_usage_may_come_in_any_chunk_and_the_last_wins() -> None:
    stream = ReplyStream()
    stream.add(b'{"usage":{"prompt_tokens":1,"completion_tokens":1},"choices":[]}')
    stream.add(b'{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":2}}')
    stream.add(b'{"choices":[],"usage":null}')
    assert stream.reply().usage == Usage(2, 2)


def test_nothing_is_missing_after_the_end_mark() -> None:
    stream = ReplyStream()
    assert stream.add(b"[DONE]") is None
    assert stream.done


def test_a_chunk_that_is_not_json_is_said_to_be_none() -> None:
    for payload in (b"{oops", b'{"a":' * 100_000):
        with pytest.raises(ReplyError, match=r"not JSON: \{"):
            ReplyStream().add(payload)


@pytest.mark.parametrize("payload", [b"", b"ping", b"null", b"7", b"[]", b"[1]"])
def test_a_chunk_that_says_nothing_is_skipped(payload: bytes) -> None:
    assert ReplyStream().add(payload) is None


def test_bytes_that_are_not_utf8_become_a_replacement_character() -> None:
    assert ReplyStream().add(b'{"choices":[{"delta":{"content":"a\xff"}}]}') == Delta("a\ufffd")


def test_half_a_character_at_the_end_is_shown_as_a_replacement() -> None:
    stream = ReplyStream()
    stream.add(b'{"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"length"}]}')
    assert stream.end() == [Delta("\ufffd")]
    assert stream.reply() == "a\ufffd"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "delta", "content", "tool_calls", "function", "arguments", "id", "index"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.one_of(JSON, st.fixed_dictionaries({"choices": st.lists(JSON, max_size=2)})), max_size=3))
def test_no_chunks_whatever_crash_the_reader(chunks: list[Any]) -> None:
    payloads = [json.dumps(chunk).encode() for chunk in chunks]
    outcome([b"data: " + payload + b"\n\n" for payload in payloads])


@given(JSON)
def test_no_delta_whatever_crashes_the_reader(delta: Any) -> None:
    stream = ReplyStream()
    for odd in ({"choices": [{"delta": delta}]}, {"choices": [{"delta": {"tool_calls": [delta, delta]}}]}):
        stream.add(json.dumps(odd).encode())
    stream.add(b'{"choices":[{"finish_reason":"stop"}]}')
    stream.reply()
