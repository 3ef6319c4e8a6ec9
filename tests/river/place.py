from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec


class Place:
    """An empty HOME and an empty folder, whose store is already full."""

    def __init__(self, root: Path, spec: ServerSpec) -> None:
        self.root = root
        self.home = root / "home"
        (self.home / "state").mkdir(parents=True)
        (self.home / "state" / "store").symlink_to(spec.engine_root.parent)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CONCIERGE_HOME": str(self.home / "state"),
            # Nothing listens there, whatever else runs on this machine.
            "OLLAMA_HOST": "127.0.0.1:9",
            # The same words every time.
            "CONCIERGE_LLM_TEMPERATURE": "0",
            # The store is full: whoever asks an index all the same fails at once.
            "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        }

    def start(self, *arguments: str, module: tuple[str, ...] = ("-m", "concierge")) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *module, *arguments],
            env=self.environ,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=180)
            return process.returncode, out, err

    def servers(self) -> list[int]:
        mine = str(self.home)
        return [p.pid for p in psutil.process_iter(["cmdline"]) if mine in " ".join(p.info["cmdline"] or [])]
