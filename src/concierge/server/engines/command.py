"""What is run to have a server: a program, its words, and an environment with nothing that was not meant for it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|OMP_NUM_THREADS"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|HSA_OVERRIDE_GFX_VERSION"
    r"|GGML_VK_VISIBLE_DEVICES|VK_ICD_FILENAMES|VK_DRIVER_FILES"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|TEMP|TMP|USERPROFILE|LOCALAPPDATA|PATHEXT|NUMBER_OF_PROCESSORS",
    re.IGNORECASE,
)
"""Variables that an engine may see. The ones that would set its address, its key or its rules are not among them,
and neither is any token."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its words and its environment; secrets are in the environment only."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path | None = None


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what an engine sees of this command's environment."""
    return {name: value for name, value in environ.items() if INHERITED.fullmatch(name)}


def with_companions(engine_root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Let the loader find the libraries that were unpacked beside the engine, before any of the system's."""
    if sys.platform != "linux":
        return dict(environ)
    folders = [str(engine_root), *filter(None, [environ.get("LD_LIBRARY_PATH")])]
    return {**environ, "LD_LIBRARY_PATH": ":".join(folders)}


def user_command(words: tuple[str, ...], *, environ: Mapping[str, str]) -> Command:
    """Return the command of the configuration: it is the user's own and sees the user's own environment."""
    return Command(words, {name: value for name, value in environ.items() if not name.startswith("CONCIERGE_")})
