"""Runs one command in a group of its own, with a bound on its time and its output, and leaves nothing of it behind."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import queue
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

AHEAD = 16
"""Pieces that may wait to be heard: a command that floods waits for its listener."""

_POLL_S = 0.1
_POSIX = os.name == "posix"
_running: set[subprocess.Popen[bytes]] = set()


def unheard(_: str) -> None:
    """Hear nothing."""


class Follow(Protocol):
    """Runs a command as ``follow`` does."""

    def __call__(self, command: Sequence[str], *, seconds: float, err: Hear = unheard) -> Output: ...


class _Said:
    """What one stream said: its beginning, and its lines for whoever hears them."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear
        self._kept = bytearray()
        self._rest = b""

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", errors="replace").replace("\r\n", "\n")

    def take(self, chunk: bytes) -> None:
        """Take what has come; nothing is the end of the stream."""
        self._kept += chunk[: LARGEST_OUTPUT - len(self._kept)]
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._rest and (not chunk or len(self._rest) > LARGEST_OUTPUT):
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._hear(line.decode("utf-8", errors="replace").rstrip())


_Come = queue.Queue[tuple[_Said, bytes]]
"""What came, whose it is; nothing is the end of a stream."""


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

    It may take ``seconds`` in all and print nothing for ``silence_s``. ``out`` takes each line of its output as it
    comes, and ``err`` of its standard error.

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
    said, wrong = _Said(out), _Said(err)
    # Only threads can wait for two streams at once on Windows; what they bring is heard by the caller's own.
    come: _Come = queue.Queue(AHEAD)
    pumps = [
        threading.Thread(target=_pump, args=pair, daemon=True)
        for pair in ((child.stdout, said, come), (child.stderr, wrong, come))
    ]
    try:
        for pump in pumps:
            pump.start()
        code = _listen(child, come, len(pumps), seconds, silence_s)
    finally:
        _end(child, come, pumps)
        _running.discard(child)
    return Output(code, said.text, wrong.text)


@atexit.register
def _end_all() -> None:
    """Take along what still runs: after Ctrl-C nobody waits for it, and a tool may hang for good."""
    for child in tuple(_running):
        if child.returncode is None:
            _kill(child)


def _pump(stream: IO[bytes], said: _Said, come: _Come) -> None:
    with stream:
        while chunk := os.read(stream.fileno(), LARGEST_OUTPUT):
            come.put((said, chunk))
    come.put((said, b""))


def _listen(child: subprocess.Popen[bytes], come: _Come, streams: int, seconds: float, silence_s: float) -> int | None:
    """Hear the command until it has ended and return its exit code; None when it passed its bounds."""
    began = heard = time.monotonic()
    limit = began + seconds
    while streams:
        now = time.monotonic()
        if now >= limit or now >= heard + silence_s:
            # What ended with its last words behind it was not stopped.
            return child.poll()
        with contextlib.suppress(queue.Empty):
            said, chunk = come.get(timeout=min(_POLL_S, limit - now))
            heard = time.monotonic()
            streams -= not chunk
            said.take(chunk)
        if child.poll() is not None:
            limit = min(limit, time.monotonic() + LEFT_S)
    try:
        return child.wait(timeout=max(limit - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes], come: _Come, pumps: list[threading.Thread]) -> None:
    """End the whole group. After the command itself is gone, what it left behind still has its number."""
    _kill(child)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=END_S)
    # Nobody hears the rest; with room for it, each thread comes to the end of its stream.
    with contextlib.suppress(queue.Empty):
        while True:
            come.get_nowait()
    for pump in pumps:
        pump.join(LEFT_S)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if _POSIX:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
