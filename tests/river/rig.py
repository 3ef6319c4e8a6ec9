"""A home, and projects in it whose locks hold an engine that is a stub: whole commands, without a model's weight."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from concierge.catalog.loader import load
from concierge.catalog.types import Artefact, Catalog
from concierge.config.keys import Llm
from concierge.lock import file as lockfile
from concierge.lock import resolve as locks
from concierge.paths import Home

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concierge.catalog.types import Build

MODEL = "smollm2-135m"
STUB = Path(__file__).parent / "stub_engine.py"


class Rig:
    """Runs commands in one home."""

    def __init__(self, root: Path, build: Build) -> None:
        self.root, self._build = root, build
        self.home = Home(root / "home")
        self.home.root.mkdir(parents=True)
        self._engine, self._model = root / "engine.zip", root / "model.gguf"
        with zipfile.ZipFile(self._engine, "w") as archive:
            archive.write(STUB, "xllamacpp/__init__.py")
        self._model.write_bytes(os.urandom(100_000))
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "CONCIERGE_HOME": str(self.home.root),
            "OLLAMA_HOST": "127.0.0.1:9",
            "CONCIERGE_TRUST": "true",
        }

    def pace(self, *, load_s: float, answer_s: float) -> None:
        """Say how long the engines that start from now on take."""
        (self.home.root / "pace").write_text(f"{load_s} {answer_s}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no answer end within the context."""
        hold = self.home.root / "hold"
        hold.touch()
        yield
        hold.unlink(missing_ok=True)

    def project(self, name: str, *, context: int, faults: Sequence[str] = (), serving: bool = True) -> Path:
        """Make a folder with a configuration and its lock: a build for each fault, then the one that serves."""
        folder = self.root / name
        folder.mkdir()
        catalog = load()
        model = catalog.model(MODEL)
        assert model is not None
        engine = _artefact(self._engine, "engine.zip", archive="zip")
        chosen = Catalog(
            builds=(
                *(self._faulty(fault) for fault in faults),
                *([self._build.model_copy(update={"artefact": (engine,), "proven": not faults})] if serving else []),
            ),
            models=(model.model_copy(update={"artefact": (_artefact(self._model, "model.gguf"),)}),),
        )
        (folder / "concierge.toml").write_text(f'[llm]\nmodel = "{MODEL}"\ncontext = {context}\n')
        base = locks.resolve(Llm(model=MODEL, context=context), catalog)
        sealed = lockfile.seal(base.generator, base.llm, chosen, dict(base.serving))
        (folder / "concierge.lock").write_text(lockfile.dump(sealed))
        return folder

    def forget_sources(self) -> None:
        """Take away the files that the locks name."""
        self._engine.unlink()
        self._model.unlink()

    def _faulty(self, fault: str) -> Build:
        file = self.root / f"{fault}.zip"
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(STUB, "xllamacpp/__init__.py")
            archive.writestr("xllamacpp/fault", fault)
        artefact = (_artefact(file, file.name, archive="zip"),)
        return self._build.model_copy(update={"artefact": artefact, "version": f"0.{fault}", "proven": True})

    def start(self, folder: Path, *words: str, through: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a command, ``through`` what puts it somewhere else."""
        return subprocess.Popen(
            [*through, sys.executable, "-m", "concierge", *words],
            cwd=folder,
            env={**self.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, folder: Path, *words: str, through: Sequence[str] = ()) -> tuple[int, str, str]:
        with self.start(folder, *words, through=through) as process:
            out, err = process.communicate(timeout=120)
            return process.returncode, out, err

    def servers(self) -> list[int]:
        """Return the engines of this home, by what they were started with and nothing that concierge wrote down."""
        mine = f"--engine-root {self.home.root}"
        found = psutil.process_iter(["cmdline", "status"])
        return [p.pid for p in found if mine in " ".join(p.info["cmdline"] or []) and p.info["status"] != "zombie"]

    def drafts(self) -> list[Path]:
        """Return what commands that died left half done."""
        return [path for path in self.root.rglob(".*") if path.name.endswith((".draft", ".part", ".new"))]


def _artefact(path: Path, name: str, **more: Any) -> Artefact:
    data = path.read_bytes()
    known = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "trust": "seen"}
    return Artefact.model_validate({**known, "sources": [{"kind": "path", "path": str(path)}], **more})


def wheel() -> Build | None:
    """Return the build of this system that the stub stands in for."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}
    arch = os.uname().machine.lower()
    system = f"{machine.get(arch, arch)}-{sys.platform}"
    wheels = (build for build in load().builds if build.launcher == "xllamacpp" and build.accelerator == "cpu")
    return next((build for build in wheels if build.system == system), None)
