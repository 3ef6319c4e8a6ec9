"""Have Nix build or download something of concierge's own flake: the source of artefacts where there is Nix.

The launcher that Nix installs names, in ``CONCIERGE_FLAKE``, the flake that it was built from. Its lock fixes every
version, and only what this machine needs is asked for: a machine without a GPU never downloads CUDA.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import FetchError
from concierge.processes import follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.catalog.types import Engine
    from concierge.platforms import Accelerator, System
    from concierge.processes import Follow

TIMEOUT_S = 3 * 3600.0
"""Long enough to compile a CUDA engine where no cache is trusted; it only ends what would never end."""

TAIL = 12
"""Lines of Nix's own message that an error repeats."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")


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
    run: Follow = follow,
    say: Callable[[str], None] = lambda _: None,
    root: Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Path:
    """Build or download one attribute of a flake and return its store path; a link at ``root`` keeps it there."""
    wanted = f"{flake}#{attribute}"
    link = ["--no-link"] if root is None else ["--out-link", str(root)]
    words = ["nix", "--extra-experimental-features", "nix-command flakes", "build", "--no-write-lock-file", *link]
    words += ["--print-out-paths", wanted]
    tail: deque[str] = deque(maxlen=TAIL)

    def hear(line: str) -> None:
        tail.append(line)
        say(line)

    try:
        done = run(words, seconds=timeout, err=hear)
    except FileNotFoundError:
        raise FetchError(
            "There is no `nix` on PATH.", where=wanted, hint="Install Nix, or use another source."
        ) from None
    except OSError as error:
        raise FetchError(f"nix cannot be started: {error.strerror}.", where=wanted) from None
    if done.exit is None:
        raise FetchError(
            f"nix did not finish in {timeout:.0f} s.",
            where=wanted,
            hint="Run `nix build` on it yourself to see why; a cache may be missing (docs/nix.md).",
        )
    if done.exit != 0:
        raise FetchError(
            f"nix could not build {attribute} (exit code {done.exit}):\n" + "\n".join(tail),
            where=flake,
            hint=f"Run `nix build '{wanted}'` to see all of it.",
        )
    return _one_path(done.stdout, wanted)


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
