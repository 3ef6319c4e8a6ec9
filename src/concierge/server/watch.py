"""A server while it starts: its process and its log, whether it gets anywhere, and what is said when it does not."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import files, mutex
from concierge.errors import ServerError, StartError, UnfitError
from concierge.server.processes import table
from concierge.server.processes.identity import BORN, LAUNCH

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from concierge.server.engines.command import Command
    from concierge.server.processes.identity import Identity, Usage
    from concierge.server.record import Folder, Kind, Record

TAIL_LINES = 15
TAIL_BYTES = 16_384

HARD_CAP_S = 4 * 3600.0
"""The largest models need tens of minutes from a slow disk; nothing that works needs this long."""

BUSY_SHARE = 0.01
"""CPU seconds per second that count as work: answering our own questions costs a tenth of it."""

_NO_PROGRAMS = (
    "Put CONCIERGE_HOME on a file system that programs may run from: the one of the store is probably mounted noexec."
)

_NOT_MAPPED = "failed to map segment from shared object"
"""How the loader of glibc refuses a library on a file system that is mounted noexec."""

_FAULTS = frozenset(
    getattr(signal, name) for name in ("SIGILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE") if hasattr(signal, name)
)
"""Signals by which a program ends itself."""

_UNFIT = re.compile(
    r"error while loading shared libraries|cannot open shared object file|symbol lookup error|undefined symbol"
    r"|version `GLIBC\w*_[\d.]+' not found|Illegal instruction|lists no \w+ device"
    r"|CUDA error|no CUDA-capable device|driver version is insufficient|no kernel image is available"
    r"|hipError|ROCm error|rocBLAS error|ErrorDeviceLost|ErrorInitializationFailed|ErrorIncompatibleDriver"
    r"|ErrorOutOfDeviceMemory|ggml_vulkan: .*(?:error|fail)|ggml_metal\w*: error",
    re.IGNORECASE,
)
"""What loaders, drivers and llama.cpp's backends write when a build finds its device or its libraries wanting."""

CHATTER = 256
"""Bytes that a server may log for each of our questions without that being progress."""


class Child:
    """A process that we started. One thread waits for it, and everybody can see how it ended."""

    def __init__(self, process: subprocess.Popen[bytes], noted: Callable[[int], object]) -> None:
        self._noted = noted
        self.pid = process.pid
        self.status: int | None = None
        self._ended = threading.Event()
        # A daemon: the server is meant to outlive this command, and the thread ends with either of them.
        threading.Thread(target=self._wait, args=(process,), daemon=True, name=f"server {self.pid}").start()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        self._noted(status)
        self.status = status
        self._ended.set()

    def ended_within(self, seconds: float) -> bool:
        """Wait that long at most and return whether it has ended."""
        return self._ended.wait(seconds)


@contextmanager
def prepared(folder: Folder) -> Iterator[tuple[int, int]]:
    """Yield handles on the log of a launch, readable by its owner only, and on its locked ``alive``."""
    with files.storing(folder.path, ServerError, hint="Make that folder writable."), ExitStack() as stack:
        handles = []
        for file in (folder.log, folder.alive):
            handles.append(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            stack.callback(os.close, handles[-1])
        with suppress(OSError):  # a file system without locks leaves the marks to tell
            mutex.lock(handles[1])
        log, alive = handles
        yield log, alive


def check(command: Command, kind: Kind) -> None:
    """Refuse a start that cannot succeed, before anything is stopped for it.

    That is a command of the user's that is not there or may not be run, and a system that shows no process.
    """
    import shutil

    if sys.platform == "linux" and not Path("/proc/self/stat").exists():
        raise StartError(
            "A server could be neither watched nor stopped here: no processes are shown in /proc.",
            where="/proc",
            hint="Mount /proc.",
        )
    program = command.argv[0]
    if kind == "command" and shutil.which(program, path=command.environ.get("PATH", os.defpath)) is None:
        number = errno.EACCES if Path(program).is_file() else errno.ENOENT
        raise not_started(kind, program, OSError(number, os.strerror(number)))


def start(command: Command, record: Record, folder: Folder, log: int, alive: int) -> Child:
    """Start a process that carries mark and record of its launch, and holds ``alive`` until the last one ends."""
    import subprocess

    # What a session of its own is elsewhere: Windows ends the processes of a console with the console.
    detached = getattr(subprocess, "DETACHED_PROCESS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    try:
        process = subprocess.Popen(
            command.argv,
            env={**command.environ, LAUNCH: record.launch, BORN: record.text},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            creationflags=detached,
            pass_fds=() if detached else (alive,),
        )
    except OSError as error:
        raise not_started(record.kind, command.argv[0], error) from None
    return Child(process, folder.note_end)


class Progress:
    """Whether a start gets anywhere: processor time, bytes from the disk, or words in the log."""

    def __init__(
        self,
        members: Callable[[], list[Identity]],
        log: Path,
        *,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = members
        self._log = log
        self._limit_s = limit_s
        self._interval_s = min(limit_s / 4, 5.0)
        self._clock = clock
        self._began = self._moved = self._sampled = clock()
        self._usage = table.usage(members())
        self._logged = _size(log)
        self._questions = 0

    def asked(self) -> None:
        """Count a question to the server: its own trace is no progress."""
        self._questions += 1

    def stalled(self) -> str | None:
        """Return why waiting has no sense any more, or None."""
        now = self._clock()
        if now - self._sampled >= self._interval_s:
            if self._advanced(now - self._sampled):
                self._moved = now
            self._sampled = now
        if now - self._moved >= self._limit_s:
            return f"made no progress for {self._limit_s:g} s"
        if now - self._began >= HARD_CAP_S:
            return f"was not ready after {HARD_CAP_S / 3600:g} hours"
        return None

    def _advanced(self, seconds: float) -> bool:
        usage, logged = table.usage(self._members()), _size(self._log)
        advanced = worked(self._usage, usage, seconds) or logged - self._logged > CHATTER * self._questions
        self._usage, self._logged, self._questions = usage, logged, 0
        return advanced


def worked(before: Usage, after: Usage, seconds: float) -> bool:
    """Tell whether processes that had used ``before`` got anywhere: computed, or had bytes brought from the disk."""
    computed = after.cpu_s - before.cpu_s >= BUSY_SHARE * seconds
    return computed or after.faults > before.faults or after.read > before.read


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def not_started(kind: Kind, program: str, error: OSError) -> StartError:
    forbidden = _NO_PROGRAMS if error.errno == errno.EACCES else None
    raised = UnfitError if kind == "engine" and forbidden is None else StartError
    return raised(
        f"Cannot start {program}: {error.strerror or error}.",
        where=program,
        hint="Correct `local_llm_start_cmd`." if kind == "command" else forbidden,
    )


def ended(record: Record, title: str, status: int | None) -> StartError:
    kind = UnfitError if record.kind == "engine" and unfit(status, _log_tail(record)) else StartError
    return kind(
        f"{title} ended while it was starting{_manner(status)}.{_log_tail(record)}",
        where=record.log,
        hint=_advice(record, status),
    )


def died(record: Record, status: int | None) -> ServerError:
    """Say how a server ended that was ready and in use."""
    return ServerError(
        f"The server of {record.model} ended while it was in use{_manner(status)}.{_log_tail(record)}",
        where=record.log,
        hint=_advice(record, status),
    )


def stopped_in_use(record: Record) -> ServerError:
    return ServerError(
        f"The server of {record.model} was stopped by another command while it was in use.",
        hint="Try again: the server is started anew.",
    )


def stalled(record: Record, title: str, why: str) -> StartError:
    return StartError(
        f"{title} {why}.{_log_tail(record)}",
        where=record.log,
        hint="Raise `local_llm_start_timeout_s` if this machine is only slow.",
    )


def taken_away(record: Record) -> StartError:
    return StartError(
        f"The server of {record.model} was stopped by another command while it was starting.",
        hint="Try again when that command is done.",
    )


def unfit(status: int | None, log: str) -> bool:
    """Tell whether it is the build that does not suit this machine, rather than the model, memory or a person."""
    if _NOT_MAPPED in log:
        return False
    if status is not None and status < 0:
        return -status in _FAULTS
    return _UNFIT.search(log) is not None


def _manner(status: int | None) -> str:
    if status is None:
        return ""
    return f", by {signal.Signals(-status).name}" if status < 0 else f", with exit code {status}"


def _advice(record: Record, status: int | None) -> str:
    if record.kind == "engine" and _NOT_MAPPED in _log_tail(record):
        return _NO_PROGRAMS
    if status == -getattr(signal, "SIGKILL", 9):
        return "The system probably ran out of memory: choose a smaller model or a smaller `context`."
    if status == -getattr(signal, "SIGILL", 4):
        return "This build needs processor features that this machine lacks: choose another engine."
    if record.kind == "command" and status == 0:
        return "`local_llm_start_cmd` must stay in the foreground, or its server must answer at `base_url` at once."
    if status is None:
        return f"If {record.log} does not say why, the system probably ran out of memory and killed it."
    return f"The whole log is {record.log}."


def _log_tail(record: Record) -> str:
    """Return how the log ends, without the server's key."""
    try:
        with Path(record.log).open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - TAIL_BYTES, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        text = ""
    if record.api_key:
        text = text.replace(record.api_key, "***")
    lines = [f"    {line}" for line in text.strip().splitlines()[-TAIL_LINES:]]
    return "\n".join([" Its log ends:", *lines]) if lines else " It logged nothing."
