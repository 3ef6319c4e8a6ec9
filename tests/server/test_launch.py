from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.flags import PARAMETERS
from concierge.errors import StartError, UnfitError
from concierge.server.engines import xllamacpp_server
from concierge.server.engines.command import engine_command, user_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Fake

KEY = "the-key"
HOSTILE = {
    "PATH": "/bin",
    "HOME": "/home/a",
    "LC_ALL": "C.UTF-8",
    "CUDA_VISIBLE_DEVICES": "1",
    "LLAMA_ARG_HOST": "0.0.0.0",
    "LLAMA_API_KEY": "theirs",
    "OLLAMA_ORIGINS": "*",
    "AIP_MODE": "PREDICTION",
    "HF_TOKEN": "secret",
    "LD_PRELOAD": "/tmp/x.so",
    "PYTHONPATH": "/tmp",
    "http_proxy": "http://proxy",
}


def test_an_engine_sees_only_what_is_allowed(fake: Fake) -> None:
    spec = replace(fake(), launcher="xllamacpp")
    command = engine_command(spec, key=KEY, environ=HOSTILE)
    allowed = {"PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", xllamacpp_server.KEY}
    assert set(command.environ) - {"LD_LIBRARY_PATH"} == allowed
    assert str(command.cwd) == "/"


@pytest.mark.skipif(sys.platform != "linux", reason="the loader's variable is Linux's")
def test_libraries_beside_the_engine_come_before_the_systems(fake: Fake) -> None:
    spec = replace(fake(), launcher="xllamacpp")
    command = engine_command(spec, key=KEY, environ={"LD_LIBRARY_PATH": "/usr/lib/wsl/lib"})
    assert command.environ["LD_LIBRARY_PATH"] == f"{spec.engine_root}:/usr/lib/wsl/lib"


@pytest.mark.parametrize("launcher", ["xllamacpp", "llama-server"])
def test_the_key_is_in_the_environment_and_never_in_the_words(fake: Fake, launcher: str) -> None:
    spec = replace(fake(), launcher=launcher)  # type: ignore[arg-type]
    command = engine_command(spec, key=KEY, environ=HOSTILE)
    assert KEY in command.environ.values()
    assert not any(KEY in word for word in command.argv)


def test_the_wheel_is_served_by_an_isolated_interpreter_that_writes_no_bytecode(fake: Fake) -> None:
    spec = replace(fake(), launcher="xllamacpp", parameters=PARAMETERS)
    command = engine_command(spec, key=KEY, environ={})
    assert command.argv[:4] == (sys.executable, "-I", "-S", "-B")
    options = xllamacpp_server.arguments(list(command.argv[5:]))
    assert (options.alias, options.context, options.model) == ("tiny", 512, str(spec.model_path))
    assert options.set == [f"{name}={value}" for name, value in PARAMETERS]


def test_llama_server_gets_the_flags_that_it_has_and_its_address_in_full(fake: Fake) -> None:
    spec = replace(fake(), parameters=(("gpu_layers", "99"), ("parallel", "2")))
    words = engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin"}).argv
    pairs = dict(itertools.pairwise(words))
    assert (pairs["--host"], pairs["--port"], pairs["--alias"]) == ("127.0.0.1", "0", "tiny")
    assert (pairs["--gpu-layers"], pairs["--parallel"], pairs["--ctx-size"]) == ("99", "2", "1024")
    assert {"--offline", "--no-webui"} <= set(words)
    assert pairs["--cors-origins"] == ""
    assert "--cache-ram" not in words


def test_a_build_without_a_prompt_cache_is_not_told_how_large_it_may_be(fake: Fake) -> None:
    spec = replace(fake(), parameters=(("cache_ram", "256"),))
    assert "--cache-ram" not in engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin"}).argv


def test_a_parameter_that_this_build_lacks_is_said_before_anything_is_started(fake: Fake) -> None:
    spec = replace(fake(), parameters=(("cache_type_k", "q8_0"),))
    with pytest.raises(StartError, match="This build of llama-server does not know the parameter `cache_type_k`"):
        engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin"})


def test_llama_server_says_its_flags_where_no_backend_can_lie(fake: Fake) -> None:
    spec = fake()
    (spec.engine_root / "llama-server").write_text('#!/bin/sh\necho "$(pwd) $XDG_CONFIG_HOME"\nexit 1\n')
    with pytest.raises(StartError, match=r": / /dev/null\b"):
        engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": "/home/a/.config"})


def test_a_program_that_cannot_run_here_is_said_before_anything_is_started(fake: Fake) -> None:
    spec = fake()
    (spec.engine_root / "llama-server").write_text("#!/bin/sh\necho 'libcuda.so.1: cannot open' >&2\nexit 127\n")
    with pytest.raises(StartError, match=r"libcuda\.so\.1: cannot open"):
        engine_command(spec, key=KEY, environ={})


def test_an_unknown_launcher_or_parameter_is_a_sentence(fake: Fake) -> None:
    with pytest.raises(StartError, match="cannot start the launcher `ollama`"):
        engine_command(replace(fake(), launcher="ollama"), key=KEY, environ={})
    with pytest.raises(StartError, match="does not know the parameter `rope`") as caught:
        engine_command(replace(fake(), parameters=(("rope", "1"),)), key=KEY, environ={})
    assert "gpu_layers" in str(caught.value)


def test_the_users_command_sees_the_users_environment_without_ours() -> None:
    command = user_command(("ollama", "serve"), environ={**HOSTILE, "CONCIERGE_LLM_API_KEY": "ours"})
    assert dict(command.environ) == HOSTILE


def configured(*settings: str) -> SimpleNamespace:
    """Return what xllamacpp would be given, with these ``--set`` words."""
    given = SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace())
    words = ["--engine-root", "/engine", "--model", "/m.gguf", "--alias", "tiny", "--context", "512"]
    for setting in settings:
        words += ["--set", setting]
    library = SimpleNamespace(ggml_type=SimpleNamespace(GGML_TYPE_Q8_0="q8"))
    xllamacpp_server.configure(library, given, xllamacpp_server.arguments(words), KEY)
    return given


def test_the_wheels_server_is_closed_to_everybody_else_and_bounded() -> None:
    given = configured()
    assert (given.hostnames, given.port, given.api_keys, given.cors_origins) == (["127.0.0.1"], 0, [KEY], "")
    assert (given.ui, given.offline, given.cache_ram_mib) == (False, True, 512)
    assert (given.model.path, given.model_alias, given.n_ctx, given.n_parallel) == ("/m.gguf", {"tiny"}, 512, 1)


def test_every_parameter_of_the_plan_reaches_the_wheels_server() -> None:
    given = configured(
        "parallel=3", "gpu_layers=99", "threads=4", "batch=64", "ubatch=32", "cache_ram=7", "cache_type_k=q8_0"
    )
    assert (given.n_parallel, given.n_gpu_layers, given.cpuparams.n_threads) == (3, 99, 4)
    assert (given.n_batch, given.n_ubatch, given.cache_ram_mib, given.cache_type_k) == (64, 32, 7, "q8")
    assert given.n_ctx == 3 * 512
    assert not hasattr(given, "cache_type_v")


def test_a_wheel_that_cannot_load_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text(
        "from types import SimpleNamespace\n"
        "def CommonParams():\n    return SimpleNamespace(model=SimpleNamespace())\n"
        "def Server(parameters):\n    raise RuntimeError(f'no such file {parameters.model.path}')\n"
    )
    words = ["--engine-root", str(tmp_path), "--model", "/m.gguf", "--alias", "tiny", "--context", "512"]
    ended = subprocess.run(
        [sys.executable, "-ISB", str(xllamacpp_server.__file__), *words],
        env={xllamacpp_server.KEY: KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "xllamacpp: no such file /m.gguf\n")


def test_a_program_is_told_what_its_build_knows_and_in_full(fake: Fake) -> None:
    spec = fake()
    flags = (
        "--host --port --model --alias --ctx-size --parallel --offline --cors-origins --cache-ram --fit --no-ui "
        "--no-webui --threads --batch-size --ubatch-size --cache-type-k --cache-type-v --gpu-layers -c single-dash"
    )
    (spec.engine_root / "llama-server").write_text(f"#!/bin/sh\necho '{flags}'\n")
    plan = (("threads", "4"), ("batch", "64"), ("ubatch", "32"), ("cache_type_k", "q8_0"), ("cache_type_v", "f16"))
    made = engine_command(replace(spec, parameters=plan), key=KEY, environ={"PATH": "/usr/bin:/bin"})
    program = str(spec.engine_root / "llama-server")
    assert made.argv == (
        *(program, "--host", "127.0.0.1", "--port", "0", "--model", str(spec.model_path), "--alias", "tiny"),
        *("--ctx-size", "512", "--offline", "--cors-origins", "", "--cache-ram", "512", "--fit", "off", "--no-ui"),
        *("--parallel", "1", "--threads", "4", "--batch-size", "64", "--ubatch-size", "32"),
        *("--cache-type-k", "q8_0", "--cache-type-v", "f16"),
    )
    assert made.environ["LLAMA_API_KEY"] == KEY
    assert made.environ["XDG_CONFIG_HOME"] == os.devnull


def test_what_the_plan_says_of_the_prompt_cache_comes_before_our_own_bound(fake: Fake) -> None:
    spec = replace(fake(), parameters=(("cache_ram", "7"),))
    (spec.engine_root / "llama-server").write_text("#!/bin/sh\necho '--parallel --cache-ram'\n")
    words = engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin"}).argv
    assert words.count("--cache-ram") == 1
    assert dict(itertools.pairwise(words))["--cache-ram"] == "7"


@pytest.mark.skipif(os.name != "posix", reason="a script stands for the program")
def test_a_model_drafts_with_its_own_block_only_where_the_build_can(fake: Fake) -> None:
    spec = fake()
    drafting = replace(spec, parameters=(("drafts", "3"),))
    program = spec.engine_root / "llama-server"
    program.write_text("#!/bin/sh\necho '--spec-type --spec-draft-n-max'\n")
    program.chmod(0o755)
    words = engine_command(drafting, key=KEY, environ={"PATH": "/usr/bin:/bin"}).argv
    assert dict(itertools.pairwise(words))["--spec-draft-n-max"] == "3"
    assert dict(itertools.pairwise(words))["--spec-type"] == "draft-mtp"
    program.write_text("#!/bin/sh\necho '--parallel'\n")
    with pytest.raises(StartError, match="does not know the parameter `drafts`"):
        engine_command(drafting, key=KEY, environ={"PATH": "/usr/bin:/bin"})


DEVICES = """Available devices:
  Vulkan0: llvmpipe (LLVM 15.0.6, 256 bits) (24106 MiB, 20000 MiB free)
"""


@pytest.mark.skipif(os.name != "posix", reason="a script stands for the program")
@pytest.mark.parametrize(
    ("accelerator", "listed", "code", "why"),
    [
        ("vulkan", DEVICES, 0, None),
        ("cpu", "Available devices:\n", 0, None),
        ("cuda", DEVICES, 0, r"lists no cuda device \(it lists Vulkan\)"),
        ("rocm", "Available devices:\n", 0, r"lists no rocm device \(it lists none at all\)"),
        ("vulkan", DEVICES, 1, "lists no vulkan device"),
    ],
)
def test_a_build_that_lists_no_device_of_the_kind_that_is_planned_is_not_started(
    fake: Fake, accelerator: str, listed: str, code: int, why: str | None
) -> None:
    spec = replace(fake(), accelerator=accelerator)  # type: ignore[arg-type]
    program = spec.engine_root / "llama-server"
    answer = f"cat <<'END'\n{listed}END\nexit {code}"
    program.write_text(f"#!/bin/sh\nif [ $1 = --help ]; then echo --list-devices; exit; fi\n{answer}\n")
    program.chmod(0o755)
    if why is None:
        assert engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin"}).argv[0] == str(program)
        return
    with pytest.raises(UnfitError, match=why):
        engine_command(spec, key=KEY, environ={"PATH": "/usr/bin:/bin"})


def test_the_wheels_server_ends_where_layers_are_to_go_to_a_device_and_there_is_none() -> None:
    def listed(*kinds: str) -> SimpleNamespace:
        found = [{"name": kind, "type": SimpleNamespace(name=f"GGML_BACKEND_DEVICE_TYPE_{kind}")} for kind in kinds]
        return SimpleNamespace(get_device_info=lambda: found)

    xllamacpp_server.device_is_there(listed("CPU", "IGPU"))
    with pytest.raises(SystemExit, match=r"lists no GPU device \(it lists CPU\)"):
        xllamacpp_server.device_is_there(listed("CPU"))
