"""Start a launcher, hear it, and be sure that it and all below it is gone, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from concierge.errors import SandboxError

if TYPE_CHECKING:
    from asyncio import StreamReader
    from asyncio.subprocess import Process

END_S = 5.0
"""A namespace is gone within milliseconds; a process that waits for a disk may take longer."""

START_S = 1.0
"""A process starts within milliseconds."""

_CHUNK = 1 << 16
_SOURCE = Path(__file__).parents[3]
_START = (
    "import sys; sys.path.append(sys.argv[1]); from concierge.agent.sandbox.launcher.main import main; sys.exit(main())"
)


@dataclass(frozen=True, slots=True)
class End:
    """How a launcher's command ended; without a code it was stopped."""

    code: int | None
    output: bytes
    ended: Literal["exit", "time", "output"]


class _Heard:
    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()

    @property
    def output(self) -> bytes:
        return bytes(self._kept[: self._most])

    async def all(self, stream: StreamReader) -> bool:
        """Hear a stream to its end, and return whether that was within the bound."""
        while chunk := await stream.read(_CHUNK):
            self._kept += chunk
            if len(self._kept) > self._most:
                return False
        return True


async def kept(order: bytes, *, seconds: float, output_bytes: int) -> End:
    """Have an order carried out and return how it ended; when this returns or raises, nothing of it is left.

    Raises:
        SandboxError: The command could not be confined, and was not run.
    """
    launcher = await _started()
    heard = _Heard(output_bytes)
    report = b""
    ended: Literal["exit", "time", "output"] = "exit"
    try:
        async with asyncio.timeout(seconds):
            await _send(launcher, order)
            assert launcher.stdout is not None
            assert launcher.stderr is not None
            if await heard.all(launcher.stdout):
                report = await launcher.stderr.read()
            else:
                ended = "output"
    except TimeoutError:
        ended = "time"
    finally:
        await _end(launcher)
    code = _code(report, heard.output) if ended == "exit" else None
    return End(code, heard.output, ended)


async def _started() -> Process:
    """Start a launcher.

    A start that is cancelled half-way waits for ever in the asyncio of Python 3.11: it is let through, or, where it was
    cancelled all the same, cancelled once more, which ends that wait.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, str(_SOURCE)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={},
            cwd="/",
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({starting}, timeout=START_S)
            if not starting.done():
                starting.cancel()
        if not starting.cancelled() and starting.exception() is None:
            await _end(starting.result())
        raise


async def _send(launcher: Process, order: bytes) -> None:
    """Send the order, and leave the way open: its end tells the launcher that nobody waits any more."""
    assert launcher.stdin is not None
    launcher.stdin.write(order)
    # What went wrong stands in the report.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await launcher.stdin.drain()


async def _end(launcher: Process) -> None:
    try:
        await _gone(launcher)
    finally:
        # Its death is that of the namespace.
        if launcher.returncode is None:
            launcher.kill()
            await _gone(launcher)


async def _gone(launcher: Process) -> None:
    """Let go of the launcher, and wait until it and what holds its streams have ended."""
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    assert launcher.stderr is not None
    if not launcher.stdin.is_closing():
        launcher.stdin.transport.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await asyncio.gather(_drained(launcher.stdout), _drained(launcher.stderr), launcher.wait())


async def _drained(stream: StreamReader) -> None:
    while await stream.read(_CHUNK):
        pass


def _code(report: bytes, output: bytes) -> int:
    try:
        said = json.loads(report)
    except ValueError:
        said = {"failed": report.decode("utf-8", "replace").strip() or "the launcher was killed"}
    if "exit" in said:
        return int(said["exit"])
    words = output.decode("utf-8", "replace").strip()
    what = said["failed"] + (f": {words}" if words else "")
    raise SandboxError(f"The command could not be confined, and was not run: {what}.")
