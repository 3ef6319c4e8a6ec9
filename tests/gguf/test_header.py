from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concierge.errors import ArtefactError
from concierge.gguf.header import MAX_KEPT, Header, Skipped, Tensor, read_header

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


class Bytes:
    """A reader over bytes that remembers what was asked of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self.content[offset : offset + size]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind: int, value: Any) -> bytes:
    return text(value) if kind == STRING else struct.pack("<" + CODES[kind], value)


def key(name: str, kind: int, value: Any) -> bytes:
    return text(name) + struct.pack("<I", kind) + scalar(kind, value)


def array(name: str, kind: int, values: list[Any]) -> bytes:
    head = text(name) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(scalar(kind, value) for value in values)


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(keys: list[bytes], tensors: list[bytes] = [], *, version: int = 3) -> bytes:  # noqa: B006  # never mutated
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)


def read(content: bytes) -> Header:
    return read_header(Bytes(content), name="model.gguf")


@pytest.mark.parametrize("version", [2, 3])
def test_a_value_of_every_type_is_read(version: int) -> None:
    wanted = {
        U8: 200,
        I8: -3,
        U16: 60_000,
        I16: -3,
        U32: 4_000_000_000,
        I32: -3,
        F32: 0.5,
        BOOL: True,
        STRING: "ß",
        U64: 1 << 60,
        I64: -(1 << 60),
        F64: 0.1,
    }
    header = read(gguf([key(f"k{kind}", kind, value) for kind, value in wanted.items()], version=version))
    assert header.version == version
    assert header.metadata == {f"k{kind}": value for kind, value in wanted.items()}


def test_short_arrays_are_kept_and_long_ones_only_counted() -> None:
    header = read(
        gguf(
            [
                array("heads", U32, [8, 8, 2]),
                array("window", BOOL, [True, False]),
                array("names", STRING, ["a", "b"]),
                array("scores", F32, [0.0] * (MAX_KEPT + 1)),
                array("tokens", STRING, ["ab"] * (MAX_KEPT + 1)),
                key("after", STRING, "still here"),
            ]
        )
    )
    assert header.metadata == {
        "heads": (8, 8, 2),
        "window": (True, False),
        "names": ("a", "b"),
        "scores": Skipped(MAX_KEPT + 1),
        "tokens": Skipped(MAX_KEPT + 1),
        "after": "still here",
    }


def test_tensors_are_listed_with_their_sizes_and_the_data_begins_aligned() -> None:
    content = gguf(
        [key("general.alignment", U32, 64)],
        [tensor("token_embd.weight", (576, 49152), 8, 0), tensor("new.weight", (32,), 255, 128)],
    )
    header = read(content)
    assert header.tensors == (
        Tensor("token_embd.weight", (576, 49152), 8, 0, 576 * 49152 // 32 * 34),
        Tensor("new.weight", (32,), 255, 128, None),
    )
    assert header.data_offset % 64 == 0
    assert 0 <= header.data_offset - len(content) < 64


def test_a_long_vocabulary_costs_few_reads_and_no_read_of_the_tensors() -> None:
    content = gguf([array("tokens", STRING, ["token"] * 200_000), key("after", U32, 1)]) + bytes(10_000_000)
    source = Bytes(content)
    assert read_header(source, name="x").metadata["after"] == 1
    assert len(source.reads) <= 6
    assert max(offset + size for offset, size in source.reads) < len(content)


@pytest.mark.promise("L40")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "ends in the middle"),
        (b"GG", "ends in the middle"),
        (b"PK\x03\x04" + bytes(40), "begins with b'PK"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version is 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version is 4"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "claims 9223372036854775808 keys"),
        (b"GGUF" + struct.pack("<Iqq", 3, -1, 1), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62), "a string of"),
        (gguf([key("k", U32, 1)])[:-2], "ends in the middle"),
        (gguf([text("k") + struct.pack("<I", 99)]), "unknown value type 99"),
        (gguf([text("k") + struct.pack("<IIQ", ARRAY, U64, 1 << 61)]), "larger than 64 MiB"),
        (gguf([text("k") + struct.pack("<IIQ", ARRAY, STRING, 1 << 61)]), "larger than 64 MiB"),
        (gguf([text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1)]), "array of the type 9"),
        (gguf([], [tensor("t", (1 << 40, 1 << 40))]), "claims"),
        (gguf([], [text("t") + struct.pack("<I", 4_000_000_000)]), "dimensions"),
        (gguf([key("general.alignment", U32, 0)]), "alignment is 0"),
    ],
)
def test_a_broken_header_is_refused_in_a_sentence(content: bytes, says: str) -> None:
    with pytest.raises(ArtefactError, match="not a readable GGUF file") as raised:
        read(content)
    assert says in str(raised.value)
    assert raised.value.where == "model.gguf"


WHOLE = gguf(
    [key("general.architecture", STRING, "llama"), array("a", U32, [1, 2, 3]), array("t", STRING, ["x"] * 20)],
    [tensor("token_embd.weight", (64, 20), 8, 0)],
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_either_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    # Anything but an ArtefactError fails the test.
    with contextlib.suppress(ArtefactError):
        read(bytes(content[:cut]))
