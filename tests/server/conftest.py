from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from concierge.config.keys import Llm
from concierge.deploy.spec import ServerSpec
from concierge.paths import Home
from concierge.server import record as records
from concierge.server.ensure import ensure
from concierge.server.processes import table
from concierge.server.processes.identity import LAUNCH
from concierge.server.record import Folder, Record
from concierge.server.stop import down

if TYPE_CHECKING:
    from concierge.endpoint import Endpoint
    from concierge.server.leases import Lease
    from concierge.server.processes.identity import Identity

HERE = Path(__file__).parent
NOBODY = "http://127.0.0.1:1/v1"
"""A ``base_url`` whose port refuses."""

Fake = Callable[..., ServerSpec]


@dataclass
class Place:
    """A home, and what one does in it."""

    home: Home
    environ: dict[str, str]
    said: list[str] = field(default_factory=list)

    def ensure(
        self,
        spec: ServerSpec,
        *,
        lease: Lease | None = None,
        room: Callable[[], bool] = lambda: False,
        **llm: Any,
    ) -> Endpoint:
        return ensure(
            Llm(**{"base_url": NOBODY, "local_llm_start_timeout_s": 20.0, **llm}),
            model=spec.model,
            prepare=lambda: spec,
            home=self.home,
            say=self.said.append,
            environ=self.environ,
            lease=lease,
            room=room,
        )

    def down(self, **times: float) -> object:
        return down(self.home, say=self.said.append, environ=self.environ, **times)

    def record(self) -> Record:
        """Return the record of the newest launch."""
        return records.recorded(self.home)[0]

    def clear(self) -> bool:
        """Return whether no launch is recorded."""
        return records.recorded(self.home) == []

    def starting(self) -> bool:
        """Return whether a launch is recorded that has a process and is not ready."""
        return not self.clear() and self.record().identity is not None and self.record().state == "starting"

    def logs(self) -> list[Path]:
        return list(self.home.run.glob("servers/*/server.log"))

    def users(self) -> int:
        """Return how many leases of the newest launch there are, held or left behind."""
        return len(list(Folder(self.home, self.record().launch).path.glob("lease-*")))

    def running(self) -> list[Identity]:
        """Return the processes of every launch in this home, whatever the record says."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ValueError):
                environ = process.environ()
                if LAUNCH in environ and environ.get("HOME") == self.environ["HOME"]:
                    found.append(table.identify(process.pid))
        return [identity for identity in found if identity is not None]

    def start(self, spec: ServerSpec, *, at: tuple[str, int] | None = None, **llm: Any) -> subprocess.Popen[str]:
        """Run one ``ensure`` in a process of its own."""
        task = {
            "home": str(self.home.root),
            "environ": self.environ,
            "llm": {"base_url": NOBODY, "local_llm_start_timeout_s": 20.0, **llm},
            "spec": asdict(spec),
            "at": at,
        }
        return subprocess.Popen(
            [sys.executable, str(HERE / "ensure_once.py"), json.dumps(task, default=str)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    place = Place(
        Home(tmp_path / "home"),
        {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)},
    )
    yield place
    place.down(drain_s=0, grace_s=0.2)
    assert place.running() == []


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Make the spec of a server that behaves as asked."""
    program = (HERE / "fake_llama_server.py").read_text(encoding="utf-8")

    def make(fault: str | None = None, *, name: str = "tiny", context: int = 512, **plan: Any) -> ServerSpec:
        engine = tmp_path / "engine"
        engine.mkdir(exist_ok=True)
        (engine / "llama-server").write_text(f"#!{sys.executable} -IS\n{program}", encoding="utf-8")
        (engine / "llama-server").chmod(0o755)
        model = tmp_path / f"{name}.gguf"
        model.write_text(json.dumps({"fault": fault, **plan}), encoding="utf-8")
        return ServerSpec(
            build="llama-cpp fake",
            engine="llama-cpp",
            launcher="llama-server",
            accelerator="cpu",
            engine_root=engine,
            engine_sha256="e" * 64,
            executable="llama-server",
            model=name,
            model_path=model,
            model_sha256=json.dumps([fault, plan]),
            context=context,
        )

    return make


def recorded(place: Place, identity: Identity, **more: object) -> Record:
    """Write a record that names ``identity`` as our server."""
    record = Record(
        launch="0" * 32,
        began=4.0,
        machine=table.machine(),
        home=records.place(place.home),
        state="ready",
        wants="w",
        kind="engine",
        model="tiny",
        log=str(Folder(place.home, "0" * 32).log),
        identity=identity,
    )
    record = replace(record, **more)  # type: ignore[arg-type]
    Folder(place.home, record.launch).write(record)
    return record


def identity_of(process: subprocess.Popen[bytes]) -> Identity:
    identity = table.identify(process.pid)
    assert identity is not None
    return identity


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def launched() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the launch that ``recorded`` writes down."""
    words = [sys.executable, "-ISc", "input()"]
    mark = {LAUNCH: "0" * 32}
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=mark, start_new_session=True) as process:
        yield process
        process.kill()
