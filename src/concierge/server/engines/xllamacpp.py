"""llama.cpp's own server inside the xllamacpp wheel, run by this interpreter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.server.engines import xllamacpp_server
from concierge.server.engines.command import Command, translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.deploy.generation import ServerSpec

PARAMETERS = {name: name for name in xllamacpp_server.SETTINGS}


def command(spec: ServerSpec, key: str, environ: Mapping[str, str]) -> Command:
    """Return the command that serves ``spec``."""
    argv = [
        # Isolated and without site: nothing of this project or of the user's packages is in the server's process.
        # No bytecode: the store is read-only.
        *(sys.executable, "-I", "-S", "-B", str(Path(xllamacpp_server.__file__).absolute())),
        *("--engine-root", str(spec.engine_root), "--model", str(spec.model_path)),
        *("--alias", spec.model, "--context", str(spec.context)),
    ]
    for name, value in translate(spec, PARAMETERS):
        argv += ["--set", f"{name}={value}"]
    return Command(tuple(argv), {**environ, xllamacpp_server.KEY: key}, cwd=Path(spec.engine_root.anchor))
