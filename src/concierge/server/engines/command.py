"""What is run to have a server: the user's own command, or llama.cpp, as a program or inside the xllamacpp wheel."""

from __future__ import annotations

import errno
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.errors import StartError, UnfitError
from concierge.processes import follow
from concierge.server.engines import xllamacpp_server

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.deploy.spec import ServerSpec

INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|OMP_NUM_THREADS"
    r"|CUDA_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES|HSA_OVERRIDE_GFX_VERSION"
    r"|GGML_VK_VISIBLE_DEVICES|VK_ICD_FILENAMES|VK_DRIVER_FILES"
    r"|SYSTEMROOT|SYSTEMDRIVE|WINDIR|TEMP|TMP|USERPROFILE|LOCALAPPDATA|PATHEXT|NUMBER_OF_PROCESSORS",
    re.IGNORECASE,
)
"""Variables that an engine may see. The ones that would set its address, its key or its rules are not among them,
and neither is any token."""

FLAGS = {
    "parallel": "--parallel",
    "cache_type_k": "--cache-type-k",
    "cache_type_v": "--cache-type-v",
    "gpu_layers": "--gpu-layers",
    "threads": "--threads",
    "batch": "--batch-size",
    "ubatch": "--ubatch-size",
    "cache_ram": "--cache-ram",
    "cpu_moe": "--n-cpu-moe",
    "flash_attn": "--flash-attn",
    "split_mode": "--split-mode",
    "main_gpu": "--main-gpu",
}
WANTED = (
    ("--offline",),
    ("--cors-origins", ""),
    ("--cache-ram", "512"),
    # The plan has decided what goes where: the server's own fitting must not decide again.
    ("--fit", "off"),
)
"""Given where this build has them. Flags come and go between builds, and an unknown one ends the server."""

DRAFTS = "--spec-type"
"""Where a build has it, a model's own next-token-prediction block may draft."""

SPARED = frozenset(("cache_ram", "threads", "flash_attn"))
"""Left out where a build has no flag for it: one without the first keeps no old prompts, so that there is nothing to
bound, and the others change nothing but the speed."""

LIST_DEVICES = "--list-devices"
DEVICES = {
    "cuda": frozenset(("cuda",)),
    "rocm": frozenset(("rocm", "hip")),
    "vulkan": frozenset(("vulkan",)),
    "metal": frozenset(("metal", "mtl")),
}
"""What llama.cpp's backends call their devices, in small letters and without their numbers."""

HELP_S = 60.0
"""A program that is read from a slow disk for the first time answers late."""

NO_CONFIGURATION = os.devnull
"""Newer builds read ``llama.cpp/config.ini`` below ``XDG_CONFIG_HOME`` or ``~/.config``, and with it tools for the
model, further keys and anything else that a user once wanted of another server. Nothing can lie below this path."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its words and its environment; secrets are in the environment only."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: Path | None = None


def user_command(words: tuple[str, ...], *, environ: Mapping[str, str]) -> Command:
    """Return the command of the configuration: it is the user's own and sees the user's own environment."""
    return Command(words, {name: value for name, value in environ.items() if not name.startswith("CONCIERGE_")})


def engine_command(spec: ServerSpec, *, key: str, environ: Mapping[str, str]) -> Command:
    """Return the command that serves ``spec`` on a free port of 127.0.0.1."""
    makers = {"xllamacpp": _interpreter, "llama-server": _program}
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


def _interpreter(spec: ServerSpec, key: str, environ: Mapping[str, str]) -> Command:
    argv = [
        # Isolated and without site: nothing of this project or of the user's packages is in the server's process.
        # No bytecode: the store is read-only.
        *(sys.executable, "-I", "-S", "-B", str(Path(xllamacpp_server.__file__).absolute())),
        *("--engine-root", str(spec.engine_root), "--model", str(spec.model_path)),
        *("--alias", spec.model, "--context", str(spec.context)),
    ]
    for name, value in _translated(spec, {name: name for name in xllamacpp_server.SETTINGS}).items():
        argv += ["--set", f"{name}={value}"]
    return Command(tuple(argv), {**environ, xllamacpp_server.KEY: key}, cwd=_nowhere(spec))


def _program(spec: ServerSpec, key: str, environ: Mapping[str, str]) -> Command:
    """Return the command of a program, which is asked for its flags first."""
    program = spec.engine_root / (spec.executable or "llama-server")
    # The plan counts cards by their place on the bus.
    environ = {**environ, "XDG_CONFIG_HOME": NO_CONFIGURATION, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    flags = _flags(program, environ, _nowhere(spec))
    if LIST_DEVICES in flags and spec.accelerator in DEVICES:
        _device_is_there(program, spec, environ)
    argv = [
        *(str(program), "--host", "127.0.0.1", "--port", "0"),
        *("--model", str(spec.model_path), "--alias", spec.model),
    ]
    known = {name: flag for name, flag in FLAGS.items() if flag in flags}
    if DRAFTS in flags:
        known["drafts"] = "--spec-draft-n-max"
    left_out = SPARED - known.keys()
    spec = replace(spec, parameters=tuple(pair for pair in spec.parameters if pair[0] not in left_out))
    given = {"--parallel": "1", **_translated(spec, known)}
    # The server divides its context among the requests that it takes at once.
    argv += ["--ctx-size", str(spec.context * int(given["--parallel"]))]
    for words in WANTED:
        if words[0] in flags and words[0] not in given:
            argv += words
    # Newer builds know it by the first name, and most by both.
    argv += [flag for flag in ("--no-ui", "--no-webui") if flag in flags][:1]
    for flag, value in given.items():
        argv += [flag, value]
    if known.get("drafts") in given:
        argv += [DRAFTS, "draft-mtp"]
    return Command(tuple(argv), {**environ, "LLAMA_API_KEY": key}, cwd=_nowhere(spec))


def _device_is_there(program: Path, spec: ServerSpec, environ: Mapping[str, str]) -> None:
    """Refuse a build whose own list of devices has none of the kind that the plan counts on.

    Without one the server loads every layer into main memory and answers all the same, many times slower.
    """
    said = follow([str(program), LIST_DEVICES], seconds=HELP_S, environ=environ, cwd=_nowhere(spec))
    names = re.findall(r"^\s+([A-Za-z]+)\d*: ", said.stdout + said.stderr, re.MULTILINE)
    if said.exit != 0 or not {name.lower() for name in names} & DEVICES[spec.accelerator]:
        listed = ", ".join(names) or "none at all"
        raise UnfitError(
            f"{program} lists no {spec.accelerator} device (it lists {listed}).",
            where=str(program),
            hint="`concierge doctor` says what this machine's driver lacks.",
        )


def _translated(spec: ServerSpec, known: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of ``spec`` under the names that this build has for them."""
    unknown = [name for name, _ in spec.parameters if name not in known]
    if unknown:
        raise StartError(
            f"This build of {spec.launcher} does not know the parameter `{unknown[0]}`.",
            where=unknown[0],
            hint=f"It knows {', '.join(sorted(known))}. Choose another version of the engine, or leave it out.",
        )
    return {known[name]: value for name, value in spec.parameters}


def _nowhere(spec: ServerSpec) -> Path:
    """Return a folder without compute backends: the program also loads those that it finds in its working directory."""
    return Path(spec.engine_root.anchor)


def _flags(program: Path, environ: Mapping[str, str], cwd: Path) -> frozenset[str]:
    try:
        said = follow([str(program), "--help"], seconds=HELP_S, environ=environ, cwd=cwd)
    except OSError as error:
        # Where programs may not be run at all, another one may neither.
        kind = StartError if error.errno == errno.EACCES else UnfitError
        raise kind(f"{program} does not run: {error}", where=str(program)) from None
    text = said.stdout + said.stderr
    if said.exit is None:
        raise UnfitError(f"{program} does not run: --help took longer than {HELP_S:g} s", where=str(program))
    if said.exit != 0:
        raise UnfitError(
            f"{program} --help ended with {said.exit}: {text.strip()[-400:]}",
            where=str(program),
            hint="The build does not suit this machine, or a shared library is missing.",
        )
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
