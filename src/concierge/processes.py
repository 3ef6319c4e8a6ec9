"""Runs one command in a group of its own, with a bound on its time and its output, and leaves nothing of it behind."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import queue
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Output:
    """The beginning of what a command printed. ``exit`` is None when it was stopped by its bounds."""

    exit: int | None
    stdout: str = ""
    stderr: str = ""


Run = Callable[[Sequence[str], float], Output]
Hear = Callable[[str], None]

LARGEST_OUTPUT = 1 << 18
"""Bytes of each stream that are kept; what follows is heard, line by line, and forgotten."""

END_S = 5.0
"""How long the system may take to end what was killed; a process that hangs in a driver is left to it."""

LEFT_S = 1.0
"""How long the rest of an ended command's words may take, when a process that it left keeps its streams open."""

_POLL_S = 0.1
_POSIX = os.name == "posix"
_running: set[subprocess.Popen[bytes]] = set()


def unheard(_: str) -> None:
    """Hear nothing."""


class Follow(Protocol):
    """Runs a command as ``follow`` does."""

    def __call__(self, command: Sequence[str], *, seconds: float, err: Hear = unheard) -> Output:
        """Return what the command printed."""
        ...


def run(command: Sequence[str], seconds: float) -> Output:
    """Return what ``command`` printed, and never raise: one that does not start has the exit code 127."""
    # Tools speak the language of the locale; the readers need none, but reports are easier to compare in one.
    try:
        output = follow(command, seconds=seconds, environ={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        return Output(exit=127, stderr=error.strerror or "it could not be started")
    return replace(output, stderr=f"stopped after {seconds:g} s") if output.exit is None else output


def follow(
    command: Sequence[str],
    *,
    seconds: float,
    silence_s: float = math.inf,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    out: Hear = unheard,
    err: Hear = unheard,
) -> Output:
    """Run a command to its end and return what it printed; whatever happens, it and its group are gone afterwards.

    Args:
        command: The program and its words.
        seconds: How long it may take in all.
        silence_s: How long it may print nothing.
        environ: Its environment; ours when None.
        cwd: Its working directory; ours when None.
        out: Takes each line of its output as it comes; ``err`` likewise of its standard error.
        err: See ``out``.

    Raises:
        OSError: It cannot be started.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=None if environ is None else dict(environ),
        cwd=cwd,
        start_new_session=_POSIX,
    )
    _running.add(child)
    assert child.stdout is not None
    assert child.stderr is not None
    said = {child.stdout: _Said(out), child.stderr: _Said(err)}
    try:
        code = _listen(child, said, seconds, silence_s)
    finally:
        _end(child)
        _running.discard(child)
    return Output(code, said[child.stdout].text, said[child.stderr].text)


@atexit.register
def _end_all() -> None:
    """Take along what still runs: after Ctrl-C nobody waits for it, and a tool may hang for good."""
    for child in tuple(_running):
        if child.returncode is None:
            _kill(child)


def _listen(
    child: subprocess.Popen[bytes], said: Mapping[IO[bytes], _Said], seconds: float, silence_s: float
) -> int | None:
    """Hear the command until it has ended and return its exit code; None when it passed its bounds."""
    with contextlib.closing((_Selected if _POSIX else _Threaded)(said)) as streams:
        began = heard = time.monotonic()
        limit = began + seconds
        while streams.open:
            now = time.monotonic()
            if now >= limit or now >= heard + silence_s:
                # What ended with its last words behind it was not stopped.
                return child.poll()
            for stream, chunk in streams.read(min(_POLL_S, limit - now)):
                heard = time.monotonic()
                said[stream].take(chunk)
            if child.poll() is not None:
                limit = min(limit, time.monotonic() + LEFT_S)
        try:
            return child.wait(timeout=max(limit - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            return None


class _Said:
    """What one stream said: its beginning, and its lines for whoever hears them."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._kept = bytearray()
        self._rest = b""

    @property
    def text(self) -> str:
        return _text(bytes(self._kept)).replace("\r\n", "\n")

    def take(self, chunk: bytes) -> None:
        """Take what has come; nothing is the end of the stream."""
        self._kept += chunk[: LARGEST_OUTPUT - len(self._kept)]
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._rest and (not chunk or len(self._rest) > LARGEST_OUTPUT):
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._hear(_text(line).rstrip())


class _Selected:
    """Streams that the system can wait for, all at once."""

    def __init__(self, streams: Mapping[IO[bytes], _Said]) -> None:
        self._selector = selectors.DefaultSelector()
        for stream in streams:
            self._selector.register(stream, selectors.EVENT_READ, stream)

    @property
    def open(self) -> bool:
        return bool(self._selector.get_map())

    def read(self, seconds: float) -> list[tuple[IO[bytes], bytes]]:
        """Return what comes within that time; nothing of a stream is its end."""
        found = [(key.data, os.read(key.fd, LARGEST_OUTPUT)) for key, _ in self._selector.select(seconds)]
        for stream, chunk in found:
            if not chunk:
                self._selector.unregister(stream)
        return found

    def close(self) -> None:
        self._selector.close()


class _Threaded:
    """Streams that only a thread can wait for, which is how Windows has them."""

    def __init__(self, streams: Mapping[IO[bytes], _Said]) -> None:
        self._come: queue.Queue[tuple[IO[bytes], bytes]] = queue.Queue()
        self._left = len(streams)
        for stream in streams:
            threading.Thread(target=self._pump, args=[stream], daemon=True).start()

    @property
    def open(self) -> bool:
        return self._left > 0

    def read(self, seconds: float) -> list[tuple[IO[bytes], bytes]]:
        try:
            found = self._come.get(timeout=seconds)
        except queue.Empty:
            return []
        self._left -= not found[1]
        return [found]

    def close(self) -> None:
        """Leave the threads to the end of their streams, which comes with the command's."""

    def _pump(self, stream: IO[bytes]) -> None:
        chunk = b"."
        while chunk:
            try:
                chunk = os.read(stream.fileno(), LARGEST_OUTPUT)
            except (OSError, ValueError):
                chunk = b""
            self._come.put((stream, chunk))
        stream.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the whole group. After the command itself is gone, what it left behind still has its number."""
    _kill(child)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=END_S)
    for stream in (child.stdout, child.stderr):
        # A thread that still reads, as on Windows, ends by itself.
        if stream is not None and _POSIX:
            stream.close()


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if _POSIX:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
