"""A server that a person named is used, or every command says what it answered; nothing is started in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from concierge import endpoint
from concierge.server.processes.owner import whose
from tests.server.peer import peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.river.place import Place
    from tests.server.peer import Peer, Said

LISTED: Said = (200, {"object": "list", "data": [{"id": "m"}]})
NEVER = threading.Event()


def slow(*_: object) -> Said:
    """Answer later than anybody waits; the event ends it with the test."""
    NEVER.wait(6)
    return LISTED


def keyed(_: str, key: str | None) -> Said:
    return LISTED if key == "Bearer right" else (401, {"error": {"message": "Invalid API key"}})


def litellm(_: str, key: str | None) -> Said:
    return (500, {"error": {"message": "Authentication Error, No api key passed in."}}) if key is None else LISTED


STATES = {
    "down": (None, {}, "nobody listens there"),
    "loading": (lambda *_: (503, {"error": {"message": "Loading model"}}), {}, "still loading (answers 503: Loading"),
    "other model": (lambda *_: (200, {"data": [{"id": "a"}, {"id": "b"}]}), {}, "serves a, b, not `m`"),
    "no model": (lambda *_: (200, {"object": "list", "data": []}), {}, "serves no model at all, not `m`"),
    "no key": (keyed, {}, "wants a key, and none is set for it (answers 401: Invalid API key)"),
    "no key, told as 500": (litellm, {}, "wants a key, and none is set for it (answers 500: Authentication Error"),
    "wrong key": (keyed, {"CONCIERGE_LLM_API_KEY": "wrong"}, "refuses the key (answers 401"),
    "slow list": (slow, {}, "is busy: it took the connection and said nothing"),
    "429": (lambda *_: (429, {"error": "slow down"}), {}, "asks for a pause (answers 429: slow down)"),
    "5xx": (lambda *_: (502, b"<html><title>Bad Gateway</title>"), {}, "out of order (answers 502: Bad Gateway)"),
    "HTML": (lambda *_: (200, b"<html><title>Welcome</title>"), {}, "a web page, no API (answers 200: Welcome)"),
    "not HTTP": (lambda *_: (200, None), {}, "does not speak HTTP"),
}  # fmt: skip
COMMANDS = {
    "run": (("run", "--base-url", "URL", "--model", "m", "a secret"), 5),
    "up": (("up", "--base-url", "URL", "--model", "m"), 5),
    "plan": (("plan", "--base-url", "URL", "--model", "m"), 5),
    "doctor": (("doctor",), 1),
    "status": (("status", "--base-url", "URL"), None),
}


@contextmanager
def standing(says: object) -> Iterator[Peer]:
    """A server in that state; None is one that went away."""
    with peer(says if callable(says) else lambda *_: LISTED) as server:
        if callable(says):
            yield server
    if not callable(says):
        yield server


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", STATES)
def test_every_command_says_what_a_named_server_answers_and_starts_nothing(
    place: Place, state: str, command: str
) -> None:
    says, environ, sentence = STATES[state]
    words, expected = COMMANDS[command]
    place.environ |= {**environ, "CONCIERGE_LLM_LOCAL_LLM_START_TIMEOUT_S": "0.3"}
    with standing(says) as server:
        if command == "doctor":
            place.environ |= {"CONCIERGE_LLM_BASE_URL": server.base_url, "CONCIERGE_LLM_MODEL": "m"}
        code, out, err = place(*(word.replace("URL", server.base_url) for word in words))
    told = " ".join((out + err).split())
    assert "bug" not in told
    assert "Traceback" not in told
    assert server.base_url in told
    assert place.servers() == []
    assert not any(line.startswith("POST") for line in server.asked)
    if expected is not None:
        assert sentence in told
        assert code == expected
        assert "concierge status" not in told
    else:
        assert code == 5


def test_a_redirect_is_named_and_not_followed(place: Place) -> None:
    with peer(lambda *_: LISTED) as other, peer(lambda *_: LISTED) as server:
        server.headers = {"Location": f"{other.base_url}/models"}
        server.says = lambda *_: (302, {})
        code, _, err = place("run", "--base-url", server.base_url, "--model", "m", "hi")
        assert code == 5
        assert f"redirects to {other.base_url}/models" in err
        assert other.asked == []


@pytest.mark.parametrize("name", ["m", "/models/x.gguf", "hf:o/r/x.gguf@main", "qwen3-8b"])
def test_an_exact_name_is_used_however_it_is_spelled(place: Place, name: str) -> None:
    with peer(lambda line, _: (200, {"data": [{"id": name}]}) if "GET" in line else (400, {"error": "seen"})) as server:
        code, _, err = place("run", "--base-url", server.base_url, "--model", name, "hi")
        assert f"{name} answers at {server.base_url}, which was there already." in err
        assert {body["model"] for body in server.bodies} == {name}
        assert code == 1
    assert place.servers() == []


def test_auto_is_the_one_model_of_a_named_server_and_several_are_listed(place: Place) -> None:
    with peer(lambda line, _: LISTED if "GET" in line else (400, {"error": "seen"})) as server:
        place("run", "--base-url", server.base_url, "hi")
        assert {body["model"] for body in server.bodies} == {"m"}
        server.says = lambda *_: (200, {"data": [{"id": "a"}, {"id": "b"}]})
        code, _, err = place("run", "--base-url", server.base_url, "hi")
        assert code == 5
        assert "serves a, b, and `model` names none of them" in err


def test_nothing_but_run_touches_a_server_whose_list_cuts_answers(place: Place) -> None:
    title = {"info": {"title": "🦙 llama.cpp Python API"}}
    with peer(lambda line, _: (200, title) if "openapi" in line else LISTED) as server:
        place.environ |= {"CONCIERGE_LLM_BASE_URL": server.base_url, "CONCIERGE_LLM_MODEL": "m"}
        assert [place(command)[0] for command in ("status", "plan", "doctor")] == [0, 0, 0]
        assert set(server.asked) == {"GET /openapi.json"}


@pytest.mark.promise("S23")
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="listens as another user")
def test_what_another_user_serves_at_the_usual_address_is_left_alone(place: Place) -> None:
    program = (
        "import os, socket, sys; os.setuid(54321); s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True); s.accept(); print('asked', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert whose(endpoint.read(f"http://127.0.0.1:{port}/v1")) == "others"
        place.environ["OLLAMA_HOST"] = f"127.0.0.1:{port}"
        code, _, err = place("up", "--model", "smollm2-135m")
        other.kill()
        assert other.stdout.read() == b""
    assert code == 0
    assert "Another user's server" in err
    assert len(place.servers()) == 1


def test_whose_server_it_is(place: Place) -> None:
    with peer(lambda *_: LISTED) as server:
        assert whose(endpoint.read(server.base_url)) == "mine"
    assert whose(endpoint.read(server.base_url)) == "nobody"


def test_with_no_model_named_what_runs_is_what_answers(place: Place) -> None:
    assert place("up", "--model", "smollm2-135m")[0] == 0
    code, out, err = place("run", "What is the capital of France? Answer in one sentence.")
    assert (code, "Paris" in out) == (0, True)
    assert "smollm2-135m answers at" in err
    assert "concierge's own" in err
    assert "Fetching" not in err


def test_our_own_server_may_be_named(place: Place) -> None:
    url = json.loads(place("up", "--model", "smollm2-135m", "--json")[1])["base_url"]
    code, out, err = place(
        "run", "--base-url", url, "--model", "smollm2-135m", "What is the capital of France? Answer in one sentence."
    )
    assert (code, "Paris" in out) == (0, True)
    assert "concierge's own" in err
