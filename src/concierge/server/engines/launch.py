"""How a server is started: its words, its environment, and nothing inherited that was not meant for it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from concierge.errors import StartError
from concierge.server.engines import llama_server, xllamacpp
from concierge.server.engines.command import Command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from concierge.deploy.generation import ServerSpec

INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|OMP_NUM_THREADS"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|HSA_OVERRIDE_GFX_VERSION"
    r"|GGML_VK_VISIBLE_DEVICES|VK_ICD_FILENAMES|VK_DRIVER_FILES"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|TEMP|TMP|USERPROFILE|LOCALAPPDATA|PATHEXT|NUMBER_OF_PROCESSORS",
    re.IGNORECASE,
)
"""Variables that an engine may see. The ones that would set its address, its key or its rules are not among them,
and neither is any token."""


def engine_command(spec: ServerSpec, *, key: str, environ: Mapping[str, str]) -> Command:
    """Return the command that serves ``spec`` on a free port of 127.0.0.1.

    Raises:
        StartError: The launcher is not one of ours, or does not know a parameter.
    """
    makers = {"xllamacpp": xllamacpp.command, "llama-server": llama_server.command}
    maker = makers.get(spec.launcher)
    if maker is None:
        raise StartError(
            f"concierge cannot start the launcher `{spec.launcher}`.",
            where=spec.launcher,
            hint=f"It starts {' and '.join(makers)}; set `local_llm_start_cmd` to start another server yourself.",
        )
    inherited = {name: value for name, value in environ.items() if INHERITED.fullmatch(name)}
    return maker(spec, key, with_companions(spec.engine_root, inherited))


def with_companions(engine_root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Let the loader find the libraries that were unpacked beside the engine, before any of the system's."""
    if sys.platform != "linux":
        return dict(environ)
    folders = [str(engine_root), *filter(None, [environ.get("LD_LIBRARY_PATH")])]
    return {**environ, "LD_LIBRARY_PATH": ":".join(folders)}


def user_command(words: tuple[str, ...], *, environ: Mapping[str, str]) -> Command:
    """Return the command of the configuration: it is the user's own and sees the user's own environment."""
    return Command(words, {name: value for name, value in environ.items() if not name.startswith("CONCIERGE_")})
