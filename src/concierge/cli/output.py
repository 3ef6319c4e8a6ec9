"""Results go to stdout, everything else to stderr; text is never read as markup."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from concierge.documents import document
from concierge.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.chat.port import Delta
    from concierge.errors import ConciergeError


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""What a terminal would obey, and what is shown instead: a model writes whatever it likes."""


def prepare() -> None:
    """Make both streams take whatever is printed: a letter that one has no code for is shown by its number."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed by whoever started us. Its number must not go to the next file that is opened.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def forget(stream: TextIO) -> None:
    """Let nothing reach a stream any more, Python's own flush at the end included."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(stream: TextIO, text: str) -> None:
    stream.write(text.translate(_CONTROLS) if stream.isatty() else text)
    stream.flush()


def result(text: str) -> None:
    """Print a result.

    Raises:
        OutputError: Standard output takes nothing.
        BrokenPipeError: Its reader went away.
    """
    try:
        _write(sys.stdout, text if text.endswith("\n") else f"{text}\n")
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unprinted(error) from None


def unprinted(error: OSError) -> OutputError:
    """Return the error of a standard output that takes nothing, and print nothing to it any more."""
    forget(sys.stdout)
    return OutputError(
        f"Cannot print to standard output: {error.strerror}.",
        where="stdout",
        hint="What was to be done is done: `concierge runs show` prints the result of a run again.",
    )


def is_broken(stream: TextIO) -> bool:
    """Tell whether a stream still holds what it cannot get rid of."""
    try:
        stream.flush()
    except OSError:
        return True
    return False


def data(**fields: Any) -> None:
    """Print a result as one JSON object that names its schema."""
    result(_text(document(**fields), indent=2))


def line(**fields: Any) -> None:
    """Print one object of several, on a line of its own."""
    result(_text(document(**fields), indent=None))


def _text(told: dict[str, Any], *, indent: int | None) -> str:
    text = json.dumps(told, indent=indent, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(told, indent=indent, default=str)
    return text


def narrate(text: str) -> None:
    """Print a line for the person who waits."""
    try:
        _write(sys.stderr, f"{text}\n")
    except OSError:
        # What is done does not depend on who is told of it.
        forget(sys.stderr)


def colours() -> bool:
    """Tell whether the user wants colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Live:
    """Shows an answer on a terminal while it is written, thoughts dimmed; anywhere else it comes whole, at the end.

    Thoughts that may not be ``dimmed`` are not shown: nothing would tell them from the answer.
    """

    def __init__(self, *, shown: bool, dimmed: bool = True) -> None:
        self._shown = shown
        self._column = 0
        self._thinking = False
        self._dim = shown and dimmed

    def piece(self, delta: Delta) -> None:
        """Show a piece of an answer."""
        if not self._shown:
            return
        if delta.reasoning and self._dim:
            self._thinking = True
            sys.stdout.write(DIM)
            _write(sys.stdout, delta.reasoning)
            sys.stdout.write(PLAIN)
        if delta.content:
            if self._thinking:
                _write(sys.stdout, "\n\n")
                self._thinking = False
            _write(sys.stdout, delta.content)
            self._column += len(delta.content)

    def interrupt(self) -> None:
        """End the line: what was shown was not the answer yet."""
        if self._column or self._thinking:
            sys.stdout.write("\n")
            self._column, self._thinking = 0, False

    def end(self, text: str) -> None:
        """Print the answer, or end the line that shows it already."""
        if self._column:
            self.interrupt()
        else:
            self.interrupt()
            result(text)


def error(failure: ConciergeError, *, as_json: bool) -> None:
    """Print an error: as an object on stdout for programs, as a sentence on stderr for people."""
    if as_json and not isinstance(failure, OutputError):
        data(**failure.as_dict())
    else:
        narrate(f"concierge: {failure}")


class Bars:
    """Progress bars with bytes, rate and time left, on stderr; plain lines where stderr is no terminal."""

    @contextlib.contextmanager
    def download(self, name: str, total: int) -> Iterator[Bar | Lines]:
        if not sys.stderr.isatty():
            yield Lines(name, total)
            return
        from rich import progress as rich
        from rich.console import Console

        text, size = rich.TextColumn("  {task.description}", markup=False), rich.DownloadColumn()
        columns = (text, rich.BarColumn(), size, rich.TransferSpeedColumn(), rich.TimeRemainingColumn())
        with rich.Progress(*columns, console=Console(stderr=True)) as progress:
            yield Bar(progress, progress.add_task(_short(name), total=total))


class Bar:
    """One bar of rich's."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task

    def at(self, done: int) -> None:
        self._progress.update(self._task, completed=done)


class Lines:
    """A line each quarter, for logs."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = _short(name), total
        self._start = time.monotonic()
        self._next = 1

    def at(self, done: int) -> None:
        if done * 4 < self._next * self._total:
            return
        self._next = done * 4 // self._total + 1
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = done / seconds
        left = (self._total - done) / max(rate, 1.0)
        narrate(
            f"  {self._name}: {done / 1e6:.1f} of {self._total / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s, {left:.0f} s left"
        )


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."
