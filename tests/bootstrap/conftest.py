"""A small checkout of its own, with a stand-in for Python that makes environments of nothing in no time."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 20

# Its environments hold a link to it under the name that it was called by, as real ones do. STUB_VENV is done before an
# environment is made, STUB_PIP is what installing does, STUB_STARTS the exit code of an environment's first start;
# every start is written down.
STUB = f"""#!/bin/sh
echo "$*" >>"$STUB_LOG"
[ "$1" != -I ] || shift
case "$*" in
    -c*realpath*) readlink -f "$0"; exit "${{STUB_STARTS-0}}" ;;
    -c*) ;;
    "-m venv "*) eval "${{STUB_VENV-}}"; mkdir -p "$3/bin" && ln -s "$0" "$3/bin/python" ;;
    *index_settings.py*) exec {sys.executable} "$@" ;;
    *" config list"*) ;;
    *" -e "*) printf '#!/bin/sh\\necho concierge "$@"\\n' >"${{0%/*}}/concierge" && chmod +x "${{0%/*}}/concierge" ;;
    *) eval "${{STUB_PIP-}}" ;;
esac
"""


class Checkout:
    """A small checkout, a home, and the programs that are first on PATH."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "checkout"
        self.home = root / "home"
        self.bin = root / "bin"
        self.log = root / "starts"
        for folder in (self.path / "scripts", self.home, self.bin):
            folder.mkdir(parents=True)
        for name in ("bootstrap.sh", "scripts/index_settings.py"):
            shutil.copy2(REPOSITORY / name, self.path / name)
        for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            (self.path / name).write_text(f"{name}\n")
        self.log.touch()
        self.program("uv", "#!/bin/sh\nexit 1\n")
        self.python = self.stand_in("python3.11")

    def program(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def stand_in(self, name: str) -> Path:
        return self.program(name, STUB)

    def environ(self, **variables: str) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "CONCIERGE_PYTHON": str(self.python),
            "STUB_LOG": str(self.log),
            **variables,
        }

    def run(self, *words: str, script: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script or self.path / "bootstrap.sh", *words],
            env=self.environ(**variables),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def started(self, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """A run in a process group of its own, as a terminal gives one."""
        command = [str(self.path / "bootstrap.sh"), *words]
        with subprocess.Popen(
            command,
            env=self.environ(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def installs(self) -> int:
        return self.log.read_text().count("--require-hashes")

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.path.glob(".venv*"))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def open_checkout() -> Iterator[Checkout]:
    """One in a folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Checkout(Path(name).resolve())


class Pipe:
    """Held open at both ends, so that neither side waits for the other to come."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._file = os.open(path, os.O_RDWR)

    def say(self) -> None:
        os.write(self._file, b"go\n")

    def hear(self) -> None:
        assert select.select([self._file], [], [], WAIT_S)[0], "nobody said anything"

    def close(self) -> None:
        os.close(self._file)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    made = Pipe(tmp_path / "pipe")
    yield made
    made.close()
