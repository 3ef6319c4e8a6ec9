"""Runs one command with a bound on its time and its output, and never raises."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """What a command printed. ``exit`` is None when it was stopped by its timeout."""

    exit: int | None
    stdout: str = ""
    stderr: str = ""


Run = Callable[[Sequence[str], float], Output]

_LARGEST_OUTPUT = 1 << 18
_POSIX = os.name == "posix"
_running: set[subprocess.Popen[bytes]] = set()


def run(command: Sequence[str], seconds: float) -> Output:
    """Return what ``command`` printed; after ``seconds`` its process group is killed and what it said is kept."""
    # Tools speak the language of the locale; the readers need none, but reports are easier to compare in one.
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=_POSIX,
        )
    except OSError as error:
        return Output(exit=127, stderr=error.strerror or "it could not be started")
    _running.add(child)
    try:
        with child:
            return _finish(child, seconds)
    finally:
        _running.discard(child)


@atexit.register
def _end() -> None:
    """Take along what still runs: after Ctrl-C nobody waits for it, and a tool may hang for good."""
    for child in tuple(_running):
        if child.returncode is None:
            _kill(child)


def _finish(child: subprocess.Popen[bytes], seconds: float) -> Output:
    try:
        stdout, stderr = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(child)
        try:
            stdout, _ = child.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            stdout = b""
        return Output(exit=None, stdout=_text(stdout), stderr=f"stopped after {seconds:g} s")
    return Output(exit=child.returncode, stdout=_text(stdout), stderr=_text(stderr))


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if _POSIX:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _text(data: bytes) -> str:
    return data[:_LARGEST_OUTPUT].decode("utf-8", errors="replace").replace("\r\n", "\n")
