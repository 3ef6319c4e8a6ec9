"""A ``llama-server`` program of llama.cpp."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import StartError
from concierge.processes import follow
from concierge.server.engines.command import Command, translate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.deploy.generation import ServerSpec

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
    # The plan has decided what goes where: the server's own fitting must not decide again.
    ("--fit", "off"),
)
"""Given where this build has them. Flags come and go between builds, and an unknown one ends the server."""

HELP_S = 60.0
"""A program that is read from a slow disk for the first time answers late."""

NO_CONFIGURATION = os.devnull
"""Newer builds read ``llama.cpp/config.ini`` below ``XDG_CONFIG_HOME`` or ``~/.config``, and with it tools for the
model, further keys and anything else that a user once wanted of another server. Nothing can lie below this path."""


def command(spec: ServerSpec, key: str, environ: Mapping[str, str]) -> Command:
    """Return the command that serves ``spec``; the program is asked for its flags first.

    Raises:
        StartError: The program does not run.
    """
    program = spec.engine_root / (spec.executable or "llama-server")
    environ = {**environ, "XDG_CONFIG_HOME": NO_CONFIGURATION}
    flags = _flags(program, environ)
    argv = [
        *(str(program), "--host", "127.0.0.1", "--port", "0"),
        *("--model", str(spec.model_path), "--alias", spec.model),
    ]
    given = {"--parallel": "1", **_known(translate(spec, PARAMETERS), flags, program)}
    # The server divides its context among the requests that it takes at once.
    argv += ["--ctx-size", str(spec.context * int(given["--parallel"]))]
    for words in (*WANTED, _no_ui(flags)):
        if words and words[0] in flags and words[0] not in given:
            argv += words
    for flag, value in given.items():
        argv += [flag, value]
    return Command(tuple(argv), {**environ, "LLAMA_API_KEY": key}, cwd=_nowhere(program))


def _known(given: list[tuple[str, str]], flags: frozenset[str], program: Path) -> dict[str, str]:
    # A build without this flag keeps no old prompts either: there is nothing to bound.
    given = [(flag, value) for flag, value in given if flag in flags or flag != "--cache-ram"]
    unknown = [flag for flag, _ in given if flag not in flags]
    if unknown:
        raise StartError(
            f"This build of llama-server does not know {unknown[0]}.",
            where=str(program),
            hint="Choose another version of the engine, or leave that parameter out.",
        )
    return dict(given)


def _nowhere(program: Path) -> Path:
    """Return a folder without compute backends: the program also loads those that it finds in its working directory."""
    return Path(program.anchor)


def _no_ui(flags: frozenset[str]) -> tuple[str, ...]:
    return next(((flag,) for flag in ("--no-ui", "--no-webui") if flag in flags), ())


def _flags(program: Path, environ: Mapping[str, str]) -> frozenset[str]:
    try:
        said = follow([str(program), "--help"], seconds=HELP_S, environ=environ, cwd=_nowhere(program))
    except OSError as error:
        raise StartError(f"{program} does not run: {error}", where=str(program)) from None
    text = said.stdout + said.stderr
    if said.exit is None:
        raise StartError(f"{program} does not run: --help took longer than {HELP_S:g} s", where=str(program))
    if said.exit != 0:
        raise StartError(
            f"{program} --help ended with {said.exit}: {text.strip()[-400:]}",
            where=str(program),
            hint="The build does not suit this machine, or a shared library is missing.",
        )
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
