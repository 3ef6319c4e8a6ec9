import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.chat.sse import SseDecoder
from concierge.errors import ReplyError


def payloads(*chunks: bytes) -> list[bytes]:
    decoder = SseDecoder()
    return [payload for chunk in chunks for payload in decoder.feed(chunk)] + list(decoder.flush())


def split(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def test_an_event_that_arrives_whole_is_its_payload() -> None:
    assert payloads(b"data: one\n\n", b"data: two\n\ndata: three\n\n") == [b"one", b"two", b"three"]


def test_an_event_comes_as_soon_as_its_blank_line_does() -> None:
    decoder = SseDecoder()
    assert list(decoder.feed(b"data: one\n")) == []
    assert list(decoder.feed(b"\n")) == [b"one"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending_is_a_line_ending(end: bytes) -> None:
    assert payloads(b"data: one" + end + end + b"data: two" + end + end) == [b"one", b"two"]


def test_comments_blank_lines_and_other_fields_say_nothing() -> None:
    assert payloads(b": ping\n\n\n\nevent: x\nid: 1\nretry: 5\ndata: one\n\n") == [b"one"]


def test_one_space_after_the_colon_is_optional() -> None:
    assert payloads(b"data:one\n\ndata:  two\n\n") == [b"one", b" two"]


def test_data_on_several_lines_is_joined() -> None:
    assert payloads(b"data: {\ndata: }\n\n") == [b"{\n}"]


def test_the_last_event_needs_no_blank_line() -> None:
    assert payloads(b"data: one\n\ndata: two") == [b"one", b"two"]


def test_a_byte_order_mark_is_skipped() -> None:
    assert payloads(b"\xef\xbb\xbfdata: one\n\n") == [b"one"]


def test_an_error_outside_the_data_is_an_event() -> None:
    assert payloads(b'error: {"code":1}\n\n', b'{"error":"x"}\n') == [b'{"error": {"code":1}}', b'{"error":"x"}']


def test_an_event_without_end_is_refused_at_the_limit() -> None:
    decoder = SseDecoder(max_event_bytes=1000)
    for _ in range(10):
        decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(ReplyError, match="more than 1,000 bytes"):
        decoder.feed(b"x" * 90)


def test_a_long_stream_of_small_events_is_not_refused() -> None:
    decoder = SseDecoder(max_event_bytes=100)
    for _ in range(100):
        assert list(decoder.feed(b"data: small\r\n\r\n")) == [b"small"]


LINES = st.sampled_from([b"data: a", b"data:b", b"data:", b"", b"", b": c", b"event: d", b"{e", b"error:{}", b"\xef"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(min_value=0), max_size=12))
def test_the_events_are_the_same_however_the_bytes_are_split(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    assert payloads(*split(stream, cuts)) == payloads(*(stream[i : i + 1] for i in range(len(stream))))
