"""Server-sent events, from bytes as they arrive to the payload of each event.

This is the hot path of streaming: an event that arrives whole, as servers send them, costs one comparison
and one slice. Everything odd goes through the lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from concierge.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

# An event is a token or a tool call; a server that never ends a line must not fill the memory.
MAX_EVENT_BYTES: Final = 64 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class SseDecoder:
    """Cuts a byte stream into the payloads of its events, however the bytes are split."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._unfinished: list[bytes] = []
        self._data: list[bytes] = []
        self._held = 0
        self._idle = True
        self._max = max_event_bytes

    def feed(self, chunk: bytes) -> Sequence[bytes]:
        """Take the next bytes and return the payloads of the events that they complete.

        Raises:
            ReplyError: One event is larger than the limit.
        """
        if self._idle and chunk[-2:] == b"\n\n" and b"\r" not in chunk:
            payloads = _whole_events(chunk)
            if payloads is not None:
                return payloads
        return self._feed_lines(chunk)

    def flush(self) -> Sequence[bytes]:
        """Return what the stream's end completes: a last event needs no blank line after it."""
        payloads: list[bytes] = []
        self._take_lines(b"".join(self._unfinished).splitlines(), payloads)
        self._take_lines([b""], payloads)
        self._unfinished = []
        return payloads

    def _feed_lines(self, chunk: bytes) -> Sequence[bytes]:
        self._held += len(chunk)
        if self._held > self._max:
            raise ReplyError(f"The server sent an event of more than {self._max:,} bytes.")
        after_cr = bool(self._unfinished) and self._unfinished[-1].endswith(b"\r")
        if chunk:
            self._unfinished.append(chunk)
            self._idle = False
        if not (chunk and (after_cr or b"\n" in chunk or b"\r" in chunk)):
            return ()
        lines = b"".join(self._unfinished).splitlines(keepends=True)
        # A line that ends in CR may be the first half of CR LF.
        self._unfinished = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        payloads: list[bytes] = []
        self._take_lines([line.rstrip(b"\r\n") for line in lines], payloads)
        self._held = sum(map(len, self._unfinished)) + sum(map(len, self._data))
        self._idle = not (self._unfinished or self._data)
        return payloads

    def _take_lines(self, lines: Sequence[bytes], payloads: list[bytes]) -> None:
        data = self._data
        for raw in lines:
            line = raw.removeprefix(_BOM)
            if not line:
                if data:
                    payloads.append(b"\n".join(data))
                    data.clear()
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            # Not in the standard: some servers report a failure under a field of its own, others as a bare line.
            elif line.startswith(b"error:"):
                payloads.append(b'{"error":%s}' % line[6:])
            elif line.startswith(b"{"):
                payloads.append(line)


def _whole_events(chunk: bytes) -> list[bytes] | None:
    """Return the payloads of a chunk that holds nothing but whole one-line events, else None."""
    events = chunk[:-2].split(b"\n\n")
    for event in events:
        if event[:6] != b"data: " or b"\n" in event:
            return None
    return [event[6:] for event in events]
