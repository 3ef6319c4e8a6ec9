"""Ask the package index of this machine for one wheel, through pip."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from concierge.processes import follow
from concierge.store.sources.pypi import platform_options
from tools.catalogue.publishers import Published

# The largest wheel in the catalogue is under 100 MB.
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class PipIndex:
    """Downloads a wheel with pip into a temporary folder and hashes it: pip knows which index this machine uses."""

    pip: tuple[str, ...] = (sys.executable, "-m", "pip")

    def published(self, package: str, version: str, wheel: str) -> Published | None:
        with tempfile.TemporaryDirectory() as folder:
            command = [*self.pip, "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += [*platform_options(wheel), "--dest", folder, f"{package}=={version}"]
            follow(command, seconds=_TIMEOUT_S)
            path = Path(folder) / wheel
            if not path.is_file():
                return None
            with path.open("rb") as file:
                return Published(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
