"""Have Nix build or download something of concierge's own flake: the source of artefacts where there is Nix.

The launcher that Nix installs names, in ``CONCIERGE_FLAKE``, the flake that it was built from. Its lock fixes every
version, and only what this machine needs is asked for: a machine without a GPU never downloads CUDA.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from concierge.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from concierge.catalog.types import Engine
    from concierge.platforms import Accelerator, System

TIMEOUT_S = 3 * 3600.0
"""Long enough to compile a CUDA engine where no cache is trusted; it only ends what would never end."""

TAIL = 12
"""Lines of Nix's own message that an error repeats."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit code, its output, and the last lines of its narration."""

    code: int
    output: str
    tail: tuple[str, ...]


class Run(Protocol):
    """Starts a program and waits for it."""

    def __call__(self, words: Sequence[str], *, say: Callable[[str], None], timeout: float) -> Done:
        """Run ``words``; give each line of its standard error to ``say`` when it comes.

        Raises:
            OSError: It cannot be started.
            subprocess.TimeoutExpired: It took longer than ``timeout`` seconds and was ended.
        """
        ...


def attribute(system: System, *path: str) -> str:
    """Return the attribute below ``legacyPackages.<system>``, with the names quoted that need it."""
    words = (word if _PLAIN.fullmatch(word) else f'"{word}"' for word in path)
    return ".".join(("legacyPackages", system, *words))


def engine(system: System, name: Engine, accelerator: Accelerator) -> str:
    """Return the attribute of an engine, such as ``legacyPackages.x86_64-linux.engines.llama-cpp.vulkan``."""
    return attribute(system, "engines", name, accelerator)


def realise(
    flake: str,
    attribute: str,
    *,
    run: Run | None = None,
    say: Callable[[str], None] = lambda _: None,
    root: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Path:
    """Build or download one attribute of a flake and return its store path.

    Args:
        flake: A flake reference, such as ``/nix/store/…-source``.
        attribute: The attribute path, as ``engine`` returns it.
        run: Starts the program; a real process when None.
        say: Takes Nix's narration, line by line.
        root: Where to put a link that keeps the result safe from garbage collection; none is made when None.
        timeout: Seconds after which Nix is ended.

    Raises:
        FetchError: There is no Nix, it failed, or what it built is not on this machine.
    """
    wanted = f"{flake}#{attribute}"
    link = ["--no-link"] if root is None else ["--out-link", str(root)]
    words = ["nix", "--extra-experimental-features", "nix-command flakes", "build", "--no-write-lock-file", *link]
    words += ["--print-out-paths", wanted]
    try:
        done = (run or start)(words, say=say, timeout=timeout)
    except FileNotFoundError:
        raise FetchError(
            "There is no `nix` on PATH.", where=wanted, hint="Install Nix, or use another source."
        ) from None
    except OSError as error:
        raise FetchError(f"nix cannot be started: {error.strerror}.", where=wanted) from None
    except subprocess.TimeoutExpired:
        raise FetchError(
            f"nix did not finish in {timeout:.0f} s.",
            where=wanted,
            hint="Run `nix build` on it yourself to see why; a cache may be missing (docs/nix.md).",
        ) from None
    if done.code != 0:
        raise FetchError(
            f"nix could not build {attribute} (exit code {done.code}):\n" + "\n".join(done.tail),
            where=flake,
            hint=f"Run `nix build '{wanted}'` to see all of it.",
        )
    return _one_path(done.output, wanted)


def _one_path(output: str, wanted: str) -> Path:
    lines = output.split()
    if len(lines) != 1 or not lines[0].startswith("/"):
        raise FetchError(f"nix printed {output!r} where one store path was expected.", where=wanted)
    path = Path(lines[0])
    if not path.exists():
        raise FetchError(
            f"nix built {path}, which is not on this machine: its store is elsewhere.",
            where=wanted,
            hint="Unset NIX_REMOTE, or use another source.",
        )
    return path


def start(words: Sequence[str], *, say: Callable[[str], None], timeout: float) -> Done:
    """Run a real process in a session of its own, and end the whole of it if it does not finish."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=TAIL)
    reader = threading.Thread(target=_narrate, args=(process.stderr, tail, say), daemon=True)
    # The process ends first: closing a pipe waits for whoever reads it.
    with process.stdout, process.stderr, _ended(process):
        reader.start()
        # The output is one line, so the pipe cannot fill while nobody reads it.
        code = process.wait(timeout)
        reader.join(timeout=5)
        return Done(code, process.stdout.read(), tuple(tail))


def _narrate(stream: IO[str], tail: deque[str], say: Callable[[str], None]) -> None:
    # The stream is closed under the reader when the process is ended early.
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            tail.append(line.rstrip())
            say(line.rstrip())


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
