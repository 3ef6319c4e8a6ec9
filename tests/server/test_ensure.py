from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from concierge.config.keys import Llm
from concierge.config.kinds import Secret
from concierge.errors import EndpointError, StartError
from concierge.server.ensure import ensure, theirs
from concierge.server.processes import table
from tests.server.peer import peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint
    from tests.server.conftest import Fake, Place
    from tests.server.peer import Said

SERVER = """
import http.server, json, os, sys, threading
port, models, gate = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = not gate or os.path.exists(gate)
        body = json.dumps({"data": [{"id": name} for name in models]}).encode()
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
print("own server", os.environ.get("MINE"), flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def never() -> ServerSpec:
    raise AssertionError("nothing is to be prepared")


def ask(place: Place, model: str = "llama3", **llm: Any) -> Endpoint:
    wanted = Llm(**{"local_llm_start_timeout_s": 5.0, "model": model, **llm})
    if not wanted.local_llm_start_cmd or wanted.never_started:
        return theirs(wanted, environ=place.environ, say=place.said.append)
    return ensure(
        wanted,
        model=model,
        prepare=never,
        home=place.home,
        say=place.said.append,
        environ=place.environ,
    )


@pytest.fixture
def connections() -> Iterator[list[object]]:
    """Where this process looks up names or connects to while the test runs."""
    asked: list[object] = []
    watching = threading.Event()
    watching.set()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching.is_set() and event in ("socket.connect", "socket.getaddrinfo"):
            asked.append(arguments)

    sys.addaudithook(watch)
    yield asked
    watching.clear()


class Foreign:
    """A server that is none of ours, as its answer to ``GET /v1/models`` and the requests that it saw."""

    def __init__(self, document: object, status: int) -> None:
        self.document = document
        self.status = status
        self.seen: list[tuple[str, str | None]] = []
        self.base_url = ""


@contextmanager
def foreign(document: object, status: int = 200) -> Iterator[Foreign]:
    peer = Foreign(document, status)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            peer.seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(peer.status)
            self.end_headers()
            self.wfile.write(json.dumps(peer.document).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        peer.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield peer
        server.shutdown()
        thread.join(5)


def listing(*names: str, **more: object) -> dict[str, object]:
    return {"data": [{"id": name, **more} for name in names]}


def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return int(server.server_address[1])


def own_server(port: int, *models: str, gate: str = "") -> list[str]:
    return [sys.executable, "-ISc", SERVER, str(port), json.dumps(models), gate]


@pytest.mark.parametrize(("asked", "served"), [("llama3", "llama3:latest"), ("llama3:latest", "llama3"), ("a", "a")])
def test_a_server_that_serves_the_model_is_adopted(place: Place, asked: str, served: str) -> None:
    with foreign(listing("other", served, owned_by="library")) as peer:
        endpoint = ask(place, asked, base_url=peer.base_url)
    assert (endpoint.base_url, endpoint.model, endpoint.dialect) == (peer.base_url, served, "ollama")
    assert not endpoint.owned
    assert len(peer.seen) == 1
    assert not place.home.root.exists()


def test_the_smallest_model_is_no_substitute_for_the_one_that_was_asked_for(place: Place) -> None:
    with foreign(listing("llama3.1", "llama")) as peer, pytest.raises(EndpointError, match=r"serves llama3\.1, llama,"):
        ask(place, base_url=peer.base_url, engine="remote")


@pytest.mark.parametrize("llm", [{"local_llm_start_cmd": ["ollama", "serve"]}, {"engine": "vllm"}])
def test_an_ollama_without_any_model_is_said_to_serve_none(place: Place, llm: dict[str, Any]) -> None:
    with foreign({"object": "list", "data": None}) as peer, pytest.raises(EndpointError) as caught:
        ask(place, base_url=peer.base_url, **llm)
    assert caught.value.what == f"The server at {peer.base_url} serves no model at all, not `llama3`."
    assert caught.value.hint == "Add `llama3` to that server, or change `base_url`."


def test_a_server_is_asked_with_its_key(place: Place) -> None:
    place.environ["SECRET"] = "from the environment"
    with foreign(listing("llama3")) as peer:
        assert ask(place, base_url=peer.base_url, api_key_env="SECRET").api_key == "from the environment"
        assert peer.seen == [("/v1/models", "Bearer from the environment")]


def test_the_window_is_read_from_a_server_that_tells(place: Place) -> None:
    with foreign(listing("llama3", max_model_len=4096)) as peer:
        assert ask(place, base_url=peer.base_url).context == 4096


@pytest.mark.parametrize("llm", [{}, {"engine": "remote"}])
def test_another_machines_server_is_used_as_it_is_and_starts_nothing(
    place: Place, llm: dict[str, Any], connections: list[object]
) -> None:
    for url, shown in (
        ("http://192.0.2.1:9/v1", "http://192.0.2.1:9/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://127.0.0.1@192.0.2.1/v1", "http://192.0.2.1/v1"),
    ):
        endpoint = ask(place, base_url=url, **llm)
        assert endpoint.base_url == shown
        assert not endpoint.owned
    assert connections == []
    assert not place.home.root.exists()


def test_when_it_is_switched_off_nobody_is_asked_and_nothing_is_started(place: Place) -> None:
    with foreign(listing("other")) as peer:
        endpoint = ask(place, base_url=peer.base_url, local_llm_ensure_available=False)
        assert endpoint.base_url == peer.base_url
        assert peer.seen == []
    assert not place.home.root.exists()


@pytest.mark.parametrize("engine", ["remote", "vllm"])
def test_engines_that_are_never_started_must_be_there(place: Place, engine: str) -> None:
    with pytest.raises(EndpointError, match="nobody listens there") as caught:
        ask(place, base_url="http://127.0.0.1:1/v1", engine=engine, local_llm_start_cmd=["false"])
    assert caught.value.hint
    assert not place.home.root.exists()


def test_a_remote_engine_that_lists_nothing_is_believed(place: Place) -> None:
    with foreign({}, 404) as peer:
        assert ask(place, base_url=peer.base_url, engine="remote").base_url == peer.base_url


def test_a_key_that_is_refused_is_said(place: Place) -> None:
    with foreign({}, 401) as peer, pytest.raises(EndpointError, match="refuses the key"):
        ask(place, base_url=peer.base_url, engine="remote", api_key=Secret("wrong"))


def test_a_remote_engine_that_is_loading_is_waited_for(place: Place) -> None:
    with foreign(listing("llama3"), 503) as peer:
        answers: list[Endpoint] = []
        asking = threading.Thread(
            target=lambda: answers.append(ask(place, base_url=peer.base_url, engine="vllm")), daemon=True
        )
        asking.start()
        assert table.wait_until(lambda: len(peer.seen) >= 2, within_s=5)
        peer.status = 200
        asking.join(5)
    assert [endpoint.base_url for endpoint in answers] == [peer.base_url]


def test_the_users_command_is_started_once_and_owned(place: Place, tmp_path: Path) -> None:
    port = free_port()
    llm: dict[str, Any] = {"base_url": f"http://127.0.0.1:{port}/v1", "local_llm_start_cmd": own_server(port, "llama3")}
    place.environ |= {"MINE": "kept", "CONCIERGE_API_TOKEN": "dropped"}
    first = ask(place, **llm)
    again = ask(place, **llm)
    assert first == again
    assert first.owned
    assert len(place.running()) == 1
    assert "own server kept" in place.logs()[0].read_text()
    place.down()
    assert place.running() == []


def test_a_second_command_waits_for_the_users_server_too(place: Place, tmp_path: Path) -> None:
    port, gate = free_port(), tmp_path / "gate"
    llm: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{port}/v1",
        "local_llm_start_cmd": own_server(port, "llama3", gate=str(gate)),
    }
    answers: list[Endpoint] = []
    both = [threading.Thread(target=lambda: answers.append(ask(place, **llm))) for _ in range(2)]
    for asking in both:
        asking.start()
    assert table.wait_until(lambda: not place.clear() and place.users() == 2, within_s=10)
    gate.touch()
    for asking in both:
        asking.join(10)
    assert len(answers) == 2
    assert len(place.running()) == 1


def test_a_users_command_that_dies_is_reported_at_once_with_its_words(place: Place) -> None:
    dying = [sys.executable, "-ISc", "raise SystemExit('no such model')"]
    with pytest.raises(StartError, match=r"ended while it was starting, with exit code 1(?s:.*)no such model"):
        ask(place, base_url=f"http://127.0.0.1:{free_port()}/v1", local_llm_start_cmd=dying)


def test_a_users_command_that_ends_well_without_a_server_is_explained(place: Place) -> None:
    with pytest.raises(StartError, match="exit code 0") as caught:
        ask(place, base_url=f"http://127.0.0.1:{free_port()}/v1", local_llm_start_cmd=["true"])
    assert "foreground" in str(caught.value)


def test_a_users_command_that_is_not_there_is_a_sentence(place: Place) -> None:
    with pytest.raises(StartError, match="Cannot start /no/such: No such file") as caught:
        ask(place, base_url=f"http://127.0.0.1:{free_port()}/v1", local_llm_start_cmd=["/no/such"])
    assert "local_llm_start_cmd" in str(caught.value)


def test_a_command_that_leaves_its_server_in_the_background_is_accepted(place: Place) -> None:
    port = free_port()
    words = json.dumps(own_server(port, "llama3"))
    launcher = f"import subprocess; subprocess.Popen({words}, start_new_session=True)"
    llm: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{port}/v1",
        "local_llm_start_cmd": [sys.executable, "-IS", "-W", "ignore", "-c", launcher],
    }
    assert ask(place, **llm).owned
    assert len(place.running()) == 1
    assert place.down() is not None
    assert place.running() == []


def test_a_users_server_without_the_model_is_stopped_and_named(place: Place) -> None:
    port = free_port()
    with pytest.raises(EndpointError, match="serves other, not `llama3`"):
        ask(place, base_url=f"http://127.0.0.1:{port}/v1", local_llm_start_cmd=own_server(port, "other"))
    assert place.running() == []


def test_a_port_that_somebody_else_uses_is_named_and_nothing_is_started(place: Place) -> None:
    with foreign(listing("other")) as peer:
        with pytest.raises(EndpointError, match="serves other"):
            ask(place, base_url=peer.base_url, local_llm_start_cmd=["false"])
        assert len(peer.seen) == 1
    assert not place.home.root.exists()


@pytest.mark.parametrize(
    ("said", "what", "hint"),
    [
        (
            (401, {}),
            "wants a key, and none is set for it (answers 401)",
            "Set `api_key_env` to the variable that holds its key.",
        ),
        ((503, {}), "is still loading (answers 503)", "Try again when it is ready."),
        ((200, None), "does not speak HTTP", "Correct `base_url`."),
        ((404, {}), "does not list its models (answers 404)", "`base_url` usually ends in /v1."),
        (
            (200, listing("a", "b")),
            "serves a, b, not `llama3`",
            "Set `model` to one of them, add `llama3` to that server, or change `base_url`.",
        ),
    ],
)
def test_whoever_is_there_instead_of_the_users_server_is_described(
    place: Place, said: Said, what: str, hint: str
) -> None:
    with peer(lambda *_: said) as server, pytest.raises(EndpointError) as caught:
        ask(place, base_url=server.base_url, local_llm_start_cmd=["false"], local_llm_start_timeout_s=0.1)
    assert caught.value.what == f"The server at {server.base_url} {what}."
    assert (caught.value.where, caught.value.hint) == (server.base_url, hint)
    assert not place.home.root.exists()


def test_of_many_models_eight_are_named(place: Place) -> None:
    names = [f"m{number}" for number in range(12)]
    with peer(lambda *_: (200, listing(*names))) as server, pytest.raises(EndpointError) as caught:
        ask(place, base_url=server.base_url, engine="remote")
    assert f"serves {', '.join(names[:8])} and 4 more, not" in caught.value.what


def test_a_server_that_is_never_started_and_says_nothing_is_not_there(place: Place) -> None:
    with peer(lambda *_: (200, None)) as server, pytest.raises(EndpointError) as caught:
        ask(place, base_url=server.base_url, engine="vllm")
    assert caught.value.what == f"The server at {server.base_url} does not speak HTTP."
    assert caught.value.where == server.base_url


@pytest.mark.parametrize("said", [(503, {}), (401, {}), (404, {}), (200, {"data": [{"id": "other"}]}), (200, None)])
def test_whatever_is_at_the_default_address_our_engine_does_not_wait_for_it(
    place: Place, fake: Fake, said: Said
) -> None:
    with peer(lambda *_: said) as server:
        endpoint = place.ensure(fake(), base_url=server.base_url)
    assert endpoint.owned
    assert endpoint.base_url != server.base_url
    assert len(server.seen) == 1


def test_a_users_server_that_refuses_its_key_is_stopped_and_named(place: Place) -> None:
    port = free_port()
    refusing = SERVER.replace("200 if ready else 503", "401")
    words = [sys.executable, "-ISc", refusing, str(port), "[]", ""]
    with pytest.raises(EndpointError, match="wants a key"):
        ask(place, base_url=f"http://127.0.0.1:{port}/v1", local_llm_start_cmd=words)
    assert place.running() == []


def test_another_command_of_the_user_replaces_the_one_that_runs(place: Place) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    ask(place, "llama3", base_url=url, local_llm_start_cmd=own_server(port, "llama3"))
    before = place.record()
    ask(place, "qwen", base_url=url, local_llm_start_cmd=own_server(port, "qwen"))
    assert place.record().launch != before.launch
    assert table.members(before.launch) == []
    assert len(place.running()) == 1


def test_equal_wishes_have_equal_digests_and_every_difference_counts(fake: Fake) -> None:
    spec = fake()
    others = [
        replace(spec, **{name: value})  # type: ignore[arg-type]
        for name, value in (
            ("engine", "other"),
            ("launcher", "xllamacpp"),
            ("accelerator", "vulkan"),
            ("engine_sha256", "f" * 64),
            ("executable", "other"),
            ("model", "other"),
            ("model_sha256", "f" * 64),
            ("context", 513),
            ("parameters", (("parallel", "2"),)),
        )
    ]
    assert spec.digest == replace(spec, engine_root=spec.engine_root / "elsewhere").digest
    assert len({wanted.digest for wanted in (spec, *others)}) == 1 + len(others)
