"""A real ``llama-server`` of llama.cpp: what the official archives hold, and what the stand-in only claims to be.

No package index has the program, so it must be named: docs/server.md says how.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from concierge.catalog.flags import PARAMETERS
from concierge.endpoint import Endpoint
from concierge.errors import StartError
from concierge.fit import memory
from concierge.gguf.facts import facts_of
from concierge.gguf.header import read_header
from concierge.gguf.readers import FileReader
from concierge.net import near
from concierge.server.processes import table
from concierge.server.stop import Stopped
from concierge.units import MIB
from tests.wait import until

if TYPE_CHECKING:
    from concierge.deploy.spec import ServerSpec
    from tests.server.conftest import Place

FOLDER = "CONCIERGE_LLAMA_SERVER"
"""Names the folder that holds the program and its libraries."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(FOLDER not in os.environ, reason=f"{FOLDER} names no folder with a llama-server program"),
]
CPU = (("gpu_layers", "0"),)


@pytest.fixture
def spec(real_spec: ServerSpec) -> ServerSpec:
    """The program with the smallest model, as the plan would serve it on a CPU."""
    program = "llama-server.exe" if sys.platform == "win32" else "llama-server"
    return replace(
        real_spec,
        engine="llama-cpp",
        launcher="llama-server",
        engine_root=Path(os.environ[FOLDER]).resolve(),
        executable=program,
        parameters=tuple(sorted((*PARAMETERS, *CPU))),
    )


def status(server: Endpoint, path: str, key: str | None) -> int:
    answer = near.ask(replace(server.root, api_key=key), path)
    assert isinstance(answer, near.Answer)
    return answer.status


def props(endpoint: Endpoint) -> dict[str, object]:
    answer = near.ask(endpoint.root, "/props")
    assert isinstance(answer, near.Answer)
    return answer.json()


def test_it_is_proven_by_its_key_and_adopted_by_the_next_command(place: Place, spec: ServerSpec) -> None:
    endpoint = place.ensure(spec)
    assert (endpoint.dialect, endpoint.owned) == ("llama-server", True)
    assert [status(endpoint, "/props", key) for key in (endpoint.api_key, "wrong", None)] == [200, 401, 401]
    [leader] = place.running()
    assert place.ensure(spec) == endpoint
    assert place.running() == [leader]


def test_its_port_is_the_one_that_its_own_socket_shows(place: Place, spec: ServerSpec) -> None:
    endpoint = place.ensure(spec)
    [listener] = table.listening(place.running())
    assert (listener.host, listener.port) == ("127.0.0.1", endpoint.address.port)
    words = psutil.Process(place.running()[0].pid).cmdline()
    assert words[words.index("--port") + 1] == "0"


@pytest.mark.parametrize(
    ("context", "parallel", "given"), [(512, 1, 512), (300, 1, 512), (8192, 1, 8192), (700, 3, 768)]
)
def test_each_request_gets_the_context_that_was_asked_for(
    place: Place, spec: ServerSpec, context: int, parallel: int, given: int
) -> None:
    parameters = (*CPU, ("parallel", str(parallel)))
    endpoint = place.ensure(replace(spec, context=context, parameters=parameters))
    assert endpoint.context == given
    assert props(endpoint)["total_slots"] == parallel


def test_a_context_beyond_the_models_own_is_reported_as_what_it_is(place: Place, spec: ServerSpec) -> None:
    assert place.ensure(replace(spec, context=16384)).context == 8192


def test_it_has_no_pages_and_tells_those_of_other_origins_nothing(place: Place, spec: ServerSpec) -> None:
    endpoint = place.ensure(spec)
    assert props(endpoint).get("ui", False) is False
    assert status(endpoint, "/", endpoint.api_key) == 404
    with socket.create_connection((endpoint.address.host, endpoint.address.port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\nOrigin: https://example.org\r\n\r\n")
        head = connection.makefile("rb").read().split(b"\r\n\r\n")[0].decode().splitlines()
    allowed = [line.partition(":")[2].strip() for line in head if line.lower().startswith("access-control-allow")]
    assert not any(allowed)


def test_the_parameters_of_the_plan_reach_it(place: Place, spec: ServerSpec) -> None:
    wanted = {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "cache_ram": "64", "threads": "1", "ubatch": "128"}
    place.ensure(replace(spec, parameters=tuple(sorted({**dict(spec.parameters), **wanted}.items()))))
    words = psutil.Process(place.running()[0].pid).cmdline()
    pairs = dict(itertools.pairwise(words))
    for name, value in wanted.items():
        flag = {"ubatch": "--ubatch-size"}.get(name, "--" + name.replace("_", "-"))
        assert pairs[flag] == value


def test_what_the_user_wants_of_other_servers_does_not_reach_it(place: Place, spec: ServerSpec) -> None:
    folder = Path(place.environ["HOME"]) / ".config" / "llama.cpp"
    folder.mkdir(parents=True)
    (folder / "config.ini").write_text("[*]\napi-key = theirs\ntools = all\nalias = other\nctx-size = 256\n")
    place.environ |= {"LLAMA_ARG_TOOLS": "all", "LLAMA_API_KEY": "theirs", "XDG_CONFIG_HOME": str(folder.parent)}
    endpoint = place.ensure(spec)
    assert (endpoint.context, status(endpoint, "/props", "theirs")) == (spec.context, 401)
    assert status(endpoint, "/tools", endpoint.api_key) in (403, 404)


def test_it_leaves_nothing_behind_in_the_home_or_beside_the_program(place: Place, spec: ServerSpec) -> None:
    def files() -> set[Path]:
        home = Path(place.environ["HOME"])
        ours = (home / "home", home / "runtime")
        return {path for path in home.rglob("*") if not any(path.is_relative_to(our) for our in ours)}

    before, beside = files(), set(spec.engine_root.iterdir())
    place.ensure(spec)
    place.down()
    assert (files(), set(spec.engine_root.iterdir())) == (before, beside)


def test_down_ends_it_politely_and_frees_its_port(place: Place, spec: ServerSpec) -> None:
    endpoint = place.ensure(spec)
    stopped = place.down()
    assert isinstance(stopped, Stopped)
    assert not stopped.forced
    assert place.running() == []
    assert near.ask(endpoint.root, "/props") == "refused"


def test_an_answer_in_progress_is_seen_and_waited_for(place: Place, spec: ServerSpec) -> None:
    endpoint = place.ensure(spec)
    question = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 150, "ignore_eos": True}
    answers: list[object] = []

    def ask() -> None:
        answers.append(near.ask(endpoint, "/chat/completions", question, timeout=60))

    def busy() -> bool:
        slots = near.ask(endpoint.root, "/slots")
        return not isinstance(slots, str) and b'"is_processing":true' in slots.body

    asking = threading.Thread(target=ask)
    asking.start()
    until(busy)
    place.down(drain_s=60)
    asking.join(timeout=60)
    [answer] = answers
    assert isinstance(answer, near.Answer)
    assert answer.json()["usage"]["completion_tokens"] == 150
    assert any("answer in progress" in line for line in place.said)


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe by name is POSIX's")
def test_one_that_is_still_loading_says_so_and_ends_at_the_polite_signal(
    place: Place, spec: ServerSpec, tmp_path: Path
) -> None:
    # A model that never comes: the program waits for its first byte.
    endless = tmp_path / "endless.gguf"
    os.mkfifo(endless)
    starting = place.start(replace(spec, model_path=endless), local_llm_start_timeout_s=60)
    until(lambda: table.listening(place.running()))
    [listener] = table.listening(place.running())
    assert status(Endpoint(f"http://127.0.0.1:{listener.port}", "m"), "/props", None) == 503
    assert starting.poll() is None
    stopped = place.down()
    assert isinstance(stopped, Stopped)
    assert not stopped.forced
    starting.communicate(timeout=10)
    assert starting.returncode != 0


@pytest.mark.skipif(sys.platform == "win32", reason="the signal is POSIX's")
def test_ctrl_c_right_after_the_start_ends_it(place: Place, spec: ServerSpec) -> None:
    starting = place.start(spec, at=("recorded", signal.SIGINT))
    starting.communicate(timeout=20)
    assert place.running() == []


def test_a_model_that_it_cannot_load_is_said_with_its_log(place: Place, spec: ServerSpec, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but no more")
    with pytest.raises(StartError, match="failed to load model"):
        place.ensure(replace(spec, model_path=broken))
    assert place.running() == []


def test_it_says_all_flags_that_concierge_may_give(spec: ServerSpec) -> None:
    from concierge.server.engines.command import FLAGS

    shown = subprocess.run(
        [spec.engine_root / str(spec.executable), "--help"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert [flag for flag in FLAGS.values() if flag not in shown.stdout] == []


@pytest.mark.parametrize("context", [512, 2048, 8192])
def test_its_own_estimate_of_memory_is_ours_but_for_the_logits_of_a_whole_batch(spec: ServerSpec, context: int) -> None:
    program = spec.engine_root / "llama-fit-params"
    if not program.is_file():
        pytest.skip(f"{program} does not exist")
    words = [str(program), "-m", str(spec.model_path), "-c", str(context), "-np", "1", "-ngl", "0", "--fit-print", "on"]
    run = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/", timeout=60)
    # It rounds each figure down to whole MiB: weights, cache, compute.
    [theirs] = [tuple(map(int, line.split()[1:])) for line in run.stdout.splitlines() if line.startswith("Host ")]
    header = read_header(FileReader(spec.model_path), name=spec.model)
    facts = facts_of(header, name=spec.model)
    ours = memory.estimate(
        facts, spec.model_path.stat().st_size - header.data_offset, memory.Serving(context), on_device=False
    ).host
    assert theirs[:2] == (ours.weights // MIB, ours.kv // MIB)
    assert ours.compute // MIB <= theirs[2] <= (ours.compute + 512 * facts.vocab * 4) // MIB
