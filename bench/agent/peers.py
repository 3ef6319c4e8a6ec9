"""Other agents, on the same tasks, model and server, in an environment and a sandbox of their own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.agent.driver import Bounds, Ran

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.endpoint import Endpoint

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).parent / "peers.txt"
START_S = 120.0
"""For the peer's imports, which are large, on a busy machine."""
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: its package, its worker, and how it can be made to talk with the model, its own default first."""

    package: str
    worker: str
    protocols: tuple[str, ...]


PEERS = {
    "mini": Peer("mini-swe-agent", "bench.agent.workers.mini", ("tools", "text")),
    "smolagents": Peer("smolagents", "bench.agent.workers.smol", ("code",)),
}


class NoSandboxError(Exception):
    """Nothing here can confine what a peer runs."""


def cache(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where environments are kept: outside the repository, one for each set of pins."""
    base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "concierge-bench" / hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]


def environment(folder: Path) -> Path:
    """Return the Python of the peers' environment, which is made once, with every byte's hash checked."""
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([*install, "--requirement", str(PINS)], check=True)
        whole.touch()
    return python


def version(peer: Peer, python: Path) -> str:
    """Return the release of the peer that is installed."""
    code = f"import importlib.metadata; print(importlib.metadata.version({peer.package!r}))"
    return subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def confined(folder: Path, python: Path) -> list[str]:
    """Return the words before a command that let it write in ``folder`` and in a ``/tmp`` of its own alone.

    Raises:
        NoSandboxError: There is no bubblewrap.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise NoSandboxError("Peers run whatever a small model writes: install bubblewrap, or say --unconfined.")
    shown = [word for path in (ROOT, python.parents[1]) for word in ("--ro-bind", str(path), str(path))]
    writable = ["--bind", str(folder), str(folder)]
    own = ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    return [program, "--ro-bind", "/", "/", *own, *shown, *writable, "--unshare-pid", "--die-with-parent", "--"]


class PeerDriver:
    """Keeps one process of a peer and hands it request after request; one that is late is replaced."""

    def __init__(self, command: list[str], *, environ: Mapping[str, str], bounds: Bounds) -> None:
        self._command = command
        self._environ = environ
        self._bounds = bounds
        self._worker: _Worker | None = None

    def run(self, request: str, folder: Path) -> Ran:
        """Hand one request over, and count what the peer tells until it ends or its time is over."""
        worker = self._ready()
        began = time.monotonic()
        worker.ask({"request": request, "folder": str(folder)})
        steps = read = written = 0
        answer, error = "", f"not done in {self._bounds.seconds:g} s"
        for said in worker.told(began + self._bounds.seconds):
            if said["event"] == "answered":
                steps, read = steps + 1, read + said["prompt_tokens"]
                written += said["completion_tokens"]
            else:
                answer, error = said["answer"], said["error"]
                break
        else:
            self.close()
        return Ran(
            answer=answer,
            steps=steps,
            prompt_tokens=read,
            completion_tokens=written,
            seconds=time.monotonic() - began,
            error=error,
        )

    def close(self) -> None:
        """End the peer's process, and with it whatever that has started."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _ready(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self._command, self._environ)
            if next(self._worker.told(time.monotonic() + START_S), None) is None:
                self.close()
                raise RuntimeError(f"The peer did not start: {' '.join(self._command)}")
        return self._worker


class _Worker:
    """A process that is asked by lines and tells by lines."""

    def __init__(self, command: list[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._pump = threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True)
        self._pump.start()

    def ask(self, job: dict[str, str]) -> None:
        self._stdin.write(f"{json.dumps(job)}\n")
        self._stdin.flush()

    def told(self, until: float) -> Iterator[dict[str, Any]]:
        """Yield what the process tells, until then or until it is gone."""
        while (left := until - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                return
            if line is None:
                return
            yield json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(STOP_S)
        self._pump.join(STOP_S)
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()


def _pump(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


@contextlib.contextmanager
def driver(
    name: str, endpoint: Endpoint, *, protocol: str, place: Path, bounds: Bounds, python: Path, unconfined: bool
) -> Iterator[PeerDriver]:
    """Give a driver of a peer, whose tasks lie below ``place``."""
    home = place / "home"
    home.mkdir(exist_ok=True)
    environ = {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BENCH_KEY": endpoint.api_key or "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "MSWEA_SILENT_STARTUP": "1",
        "MSWEA_GLOBAL_CONFIG_DIR": str(home),
        "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2",
    }
    before = [] if unconfined else confined(place, python)
    told = ["--url", endpoint.base_url, "--model", endpoint.model, "--steps", str(bounds.steps)]
    command = [*before, str(python), "-m", PEERS[name].worker, *told, "--protocol", protocol]
    peer = PeerDriver(command, environ=environ, bounds=bounds)
    try:
        yield peer
    finally:
        peer.close()
