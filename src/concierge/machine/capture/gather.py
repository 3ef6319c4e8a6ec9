"""What the parts of the probe on every system share: reading files, and asking libraries in a child."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concierge import jsontext
from concierge.machine.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from concierge.processes import Run

_ASK = Path(__file__).parent / "ask"
_LARGEST_FILE = 1 << 18


@dataclass(frozen=True, slots=True)
class Host:
    """Where a part looks: the file system's root, the environment, and how commands are run."""

    run: Run
    environ: Mapping[str, str]
    root: Path = Path("/")

    def path(self, absolute: str) -> Path:
        """Return where ``absolute`` is below this root."""
        return self.root / absolute.lstrip("/")


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that the probe does at the same time as the others.

    Attributes:
        seconds: How long it may take; then the probe goes on without it.
    """

    name: str
    collect: Callable[[Host], Bundle]
    seconds: float


def joined(bundles: Iterable[Bundle]) -> Bundle:
    """Return one bundle with everything that the parts gathered."""
    merged: dict[str, dict[str, Any]] = {one.name: {} for one in fields(Bundle)}
    for bundle in bundles:
        for name, mapping in merged.items():
            mapping.update(getattr(bundle, name))
    return Bundle(**merged)


def read_files(host: Host, paths: Iterable[str]) -> Bundle:
    """Return the files that can be read, and for those that refuse, why."""
    files: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for path in paths:
        try:
            with host.path(path).open("rb") as file:
                files[path] = file.read(_LARGEST_FILE).decode("utf-8", errors="replace").rstrip("\n")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unreadable[path] = error.strerror or type(error).__name__
    return Bundle(files=files, unreadable=unreadable)


def names_in(host: Host, folder: str) -> tuple[str, ...]:
    """Return the names in a folder, sorted; none when there is no such folder."""
    try:
        return tuple(sorted(os.listdir(host.path(folder))))  # noqa: PTH208  # half the time of Path.iterdir
    except OSError:
        return ()


def ask(host: Host, program: str, *arguments: str, seconds: float) -> Bundle:
    """Run one of the programs in ``ask/`` and return its answers; what it said before a crash counts."""
    command = [sys.executable, "-I", "-S", str(_ASK), program, *arguments]
    output = host.run(command, seconds)
    answers: dict[str, Any] = {}
    for line in output.stdout.splitlines():
        answers.update(jsontext.parse_object(line) or {})
    if output.exit == 0:
        return Bundle(answers=answers)
    why = "it was stopped by its timeout" if output.exit is None else f"it ended with {output.exit}"
    last = output.stderr.strip().rsplit("\n", 1)[-1][:200]
    return Bundle(answers=answers, failures={program: f"{why}: {last}" if last else why})


def ask_nvidia(host: Host, libraries: Mapping[str, str]) -> Bundle:
    """Ask NVML and CUDA, where at least one of them is installed."""
    paths = [libraries.get(name, "-") for name in ("libnvidia-ml", "libcuda")]
    return Bundle() if paths == ["-", "-"] else ask(host, "nvidia", nvml_folder(), *paths, seconds=4.0)


def ask_vulkan(host: Host, libraries: Mapping[str, str]) -> Bundle:
    """Ask Vulkan, where its loader is installed."""
    path = libraries.get("libvulkan")
    return ask(host, "vulkan", path, seconds=4.0) if path else Bundle()


def nvml_folder() -> str:
    """Return the folder that holds ``pynvml``, without importing it."""
    found = importlib.util.find_spec("pynvml")
    return str(Path(found.origin).parent) if found and found.origin else ""
