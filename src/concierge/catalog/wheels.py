"""Ask the package index of this machine for one wheel, through pip."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from concierge.catalog.publishers import Published

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
            subprocess.run(command, check=False, timeout=_TIMEOUT_S, capture_output=True)
            path = Path(folder) / wheel
            if not path.is_file():
                return None
            with path.open("rb") as file:
                return Published(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def platform_options(wheel: str) -> list[str]:
    """Return the options that make pip fetch this very wheel on whatever machine it runs."""
    python, abi, platforms = wheel.removesuffix(".whl").split("-")[-3:]
    if platforms == "any":
        return []
    options = [option for platform in platforms.split(".") for option in ("--platform", platform)]
    # A wheel for the stable ABI is found by any later Python; its own tag names the earliest.
    version = python.split(".")[0].removeprefix("cp").removeprefix("py")
    return [*options, "--implementation", "cp", "--python-version", version, "--abi", abi]
