"""Read the header of a GGUF file: its metadata and what tensors it holds, never the tensors themselves.

The bytes come from a ``Reader``, so the same code reads a file on disk and a file behind a URL. The header is
untrusted: every count and length in it is checked before it is believed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from concierge.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The largest headers seen (a vocabulary of 260,000 tokens with merges) are under 20 MiB.
MAX_HEADER = 64 << 20
# The longest strings seen are chat templates, under 100 KiB.
MAX_STRING = 4 << 20
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 18
MAX_DIMENSIONS = 8
# Longer arrays are vocabularies: their length is kept, their elements are skipped.
MAX_KEPT = 4096

# A remote read should fetch the interesting keys in one go and then grow, so that a long vocabulary costs few requests.
FIRST_READ = 256 << 10
LARGEST_READ = 8 << 20

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# GGML type → (elements of a block, bytes of a block).
BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4),  # F32
    1: (1, 2),  # F16
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    9: (32, 36),  # Q8_1
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    24: (1, 1),  # I8
    25: (1, 2),  # I16
    26: (1, 4),  # I32
    27: (1, 8),  # I64
    28: (1, 8),  # F64
    29: (256, 56),  # IQ1_M
    30: (1, 2),  # BF16
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
}


class Reader(Protocol):
    """Bytes by position: a file, a URL that answers range requests, or a test's own bytes."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Skipped:
    """An array that was too long to keep."""

    length: int


Scalar = str | int | float | bool
Value = Scalar | tuple[Scalar, ...] | Skipped


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file.

    Attributes:
        shape: Elements of each dimension, the contiguous one first.
        size: Bytes in the file, or None when the type is newer than this code.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int | None


@dataclass(frozen=True, slots=True)
class Header:
    """Everything that stands before the tensors.

    Attributes:
        data_offset: Where the tensors begin; the file's size less this is what the weights weigh.
    """

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    data_offset: int


def read_header(reader: Reader, *, name: str) -> Header:
    """Read the header of the GGUF file ``name``."""
    cursor = _Cursor(reader, name)
    version = _version(cursor)
    tensor_count = cursor.count(MAX_TENSORS, "tensors")
    key_count = cursor.count(MAX_KEYS, "keys")
    metadata: dict[str, Value] = {}
    for _ in range(key_count):
        key = cursor.string()
        metadata[key] = _value(cursor, cursor.u32(), key)
    tensors = tuple(_tensor(cursor) for _ in range(tensor_count))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise cursor.wrong(f"its alignment is {alignment}")
    return Header(version, metadata, tensors, -(-cursor.position // alignment) * alignment)


def _version(cursor: _Cursor) -> int:
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise cursor.wrong(f"it begins with {magic!r}, not with GGUF")
    version = cursor.u32()
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0 and version:
        raise cursor.wrong("it is written for big-endian machines")
    raise cursor.wrong(f"its version is {version}, and versions 2 and 3 are known")


def _value(cursor: _Cursor, kind: int, key: str) -> Value:
    if kind == _ARRAY:
        return _array(cursor, key)
    if kind == _STRING:
        return cursor.string()
    code = _SCALARS.get(kind)
    if code is None:
        raise cursor.wrong(f"the key {key!r} has the unknown value type {kind}")
    value: int | float | bool = struct.unpack("<" + code, cursor.take(struct.calcsize(code)))[0]
    return value


def _array(cursor: _Cursor, key: str) -> tuple[Scalar, ...] | Skipped:
    kind = cursor.u32()
    length = cursor.u64()
    if kind == _STRING:
        # Each element has at least its length of eight bytes.
        cursor.check(length * 8)
        if length <= MAX_KEPT:
            return tuple(cursor.string() for _ in range(length))
        cursor.skip_strings(length)
        return Skipped(length)
    code = _SCALARS.get(kind)
    if code is None:
        raise cursor.wrong(f"the key {key!r} is an array of the type {kind}")
    size = length * struct.calcsize(code)
    cursor.check(size)
    if length <= MAX_KEPT:
        return struct.unpack(f"<{length}{code}", cursor.take(size))
    cursor.skip(size)
    return Skipped(length)


def _tensor(cursor: _Cursor) -> Tensor:
    name = cursor.string()
    dimensions = cursor.u32()
    if dimensions > MAX_DIMENSIONS:
        raise cursor.wrong(f"the tensor {name!r} has {dimensions} dimensions")
    shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions))
    kind, offset = cursor.u32(), cursor.u64()
    return Tensor(name, shape, kind, offset, _size(cursor, name, shape, kind))


def _size(cursor: _Cursor, name: str, shape: tuple[int, ...], kind: int) -> int | None:
    elements = math.prod(shape)
    if elements >= 1 << 50:
        raise cursor.wrong(f"the tensor {name!r} claims {elements} elements")
    block = BLOCKS.get(kind)
    if block is None:
        return None
    return -(-elements // block[0]) * block[1]


@dataclass(slots=True)
class _Cursor:
    """A position in the header over a buffer that grows ahead of it."""

    reader: Reader
    name: str
    position: int = 0
    _start: int = 0
    _buffer: bytes = field(default=b"", repr=False)
    _next_read: int = FIRST_READ

    def wrong(self, what: str) -> ArtefactError:
        return ArtefactError(
            f"This is not a readable GGUF file: {what}.",
            where=self.name,
            hint="Fetch the file again, or name another one.",
        )

    def check(self, size: int) -> None:
        """Refuse a length before anything is read or allocated for it."""
        if size > MAX_HEADER - self.position:
            raise self.wrong(f"its header would be larger than {MAX_HEADER >> 20} MiB")

    def take(self, size: int) -> bytes:
        self.check(size)
        begin = self.position - self._start
        if begin < 0 or begin + size > len(self._buffer):
            self._fill(size)
            begin = 0
        self.position += size
        return self._buffer[begin : begin + size]

    def _fill(self, size: int) -> None:
        # What is already here is kept, so that a value on the seam costs no second read of its first half.
        kept = self._buffer[self.position - self._start :] if self.position >= self._start else b""
        wanted = max(size - len(kept), self._next_read)
        fresh = self.reader.read(self.position + len(kept), wanted)
        self._buffer, self._start = kept + fresh, self.position
        self._next_read = min(self._next_read * 2, LARGEST_READ)
        if len(self._buffer) < size:
            raise self.wrong("it ends in the middle of its header")

    def skip(self, size: int) -> None:
        self.check(size)
        self.position += size
        if self.position - self._start > len(self._buffer):
            self._buffer, self._start = b"", self.position

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def count(self, most: int, of: str) -> int:
        number = self.u64()
        if number > most:
            raise self.wrong(f"it claims {number} {of}")
        return number

    def string(self) -> str:
        length = self.u64()
        if length > MAX_STRING:
            raise self.wrong(f"it holds a string of {length} bytes")
        return self.take(length).decode("utf-8", errors="replace")

    def skip_strings(self, number: int) -> None:
        for _ in range(number):
            self.skip(self.u64())
