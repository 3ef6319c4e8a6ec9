"""A ``llama-server`` program of llama.cpp."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import StartError
from concierge.serve.launch import Command, translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.deploy.spec import ServerSpec

PARAMETERS = {
    "parallel": "--parallel",
    "cache_type_k": "--cache-type-k",
    "cache_type_v": "--cache-type-v",
    "gpu_layers": "--gpu-layers",
    "threads": "--threads",
    "batch": "--batch-size",
    "ubatch": "--ubatch-size",
    "cache_ram": "--cache-ram",
}
WANTED = (
    ("--offline",),
    ("--cors-origins", ""),
    ("--cache-ram", "512"),
)
"""Given where this build has them. Flags come and go between builds, and an unknown one ends the server."""


def command(spec: ServerSpec, key: str, environ: Mapping[str, str]) -> Command:
    """Return the command that serves ``spec``; the program is asked for its flags first.

    Raises:
        StartError: The program does not run.
    """
    program = spec.engine_root / (spec.executable or "llama-server")
    flags = _flags(program, environ)
    argv = [
        *(str(program), "--host", "127.0.0.1", "--port", "0"),
        *("--model", str(spec.model_path), "--alias", spec.model),
    ]
    given = {"--parallel": "1", **dict(translate(spec, PARAMETERS))}
    # The server divides its context among the requests that it takes at once.
    argv += ["--ctx-size", str(spec.context * int(given["--parallel"]))]
    for words in (*WANTED, _no_ui(flags)):
        if words and words[0] in flags and words[0] not in given:
            argv += words
    for flag, value in given.items():
        argv += [flag, value]
    return Command(tuple(argv), {**environ, "LLAMA_API_KEY": key}, cwd=Path(spec.engine_root.anchor))


def _no_ui(flags: frozenset[str]) -> tuple[str, ...]:
    return next(((flag,) for flag in ("--no-ui", "--no-webui") if flag in flags), ())


def _flags(program: Path, environ: Mapping[str, str]) -> frozenset[str]:
    try:
        run = subprocess.run(
            [str(program), "--help"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartError(f"{program} does not run: {error}", where=str(program)) from None
    text = run.stdout.decode("utf-8", errors="replace")
    if run.returncode != 0:
        raise StartError(
            f"{program} --help ended with {run.returncode}: {text.strip()[-400:]}",
            where=str(program),
            hint="The build does not suit this machine, or a shared library is missing.",
        )
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
