"""Each way in which whoever answers on the port of our process is not the server that the record names."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.errors import StartError
from concierge.server.processes import table
from concierge.server.proof import engine_endpoint, nonsense
from concierge.server.record import Record
from tests.server.peer import peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.endpoint import Endpoint
    from tests.server.peer import Peer, Said

KEY = "our-key"
PROPS = {"model_alias": "tiny", "default_generation_settings": {"n_ctx": 512}}
SPOKE: Said = (200, {"choices": [{"message": {"content": "Hi"}}], "usage": {"completion_tokens": 1}})
WHY = "The server that was started for tiny cannot be trusted: "


def record(**more: object) -> Record:
    made = Record("0" * 32, 1.0, "here", "home", "starting", "w", "engine", "tiny", "the.log", api_key=KEY)
    return replace(made, **more)  # type: ignore[arg-type]


def proven(record: Record) -> Endpoint | None:
    return engine_endpoint(record, [table.myself()], patience_s=5.0)


@contextmanager
def engine(
    *,
    props: Said = (200, PROPS),
    stranger: Said = (401, {}),
    spoken: Said | list[Said] = SPOKE,
) -> Iterator[Peer]:
    """Serve as our engine does, from this process, with what is to be different."""

    def says(line: str, key: str | None) -> Said | list[Said]:
        if line == "GET /props":
            return props if key == f"Bearer {KEY}" else stranger
        return spoken if (line, key) == ("POST /v1/chat/completions", f"Bearer {KEY}") else (404, {})

    with peer(says) as server:
        yield server


def refusal(server: Peer, record: Record) -> str:
    with pytest.raises(StartError) as caught:
        proven(record)
    assert caught.value.where == "the.log"
    assert caught.value.hint == "Its log may say more; `concierge down` and another try start a new one."
    assert caught.value.what.startswith(WHY)
    return caught.value.what.removeprefix(WHY).rstrip(".")


def test_an_engine_that_answers_our_key_refuses_another_and_generates_is_ready() -> None:
    with engine() as server:
        endpoint = proven(record())
    assert endpoint is not None
    assert (endpoint.base_url, endpoint.model, endpoint.api_key) == (server.base_url, "tiny", KEY)
    assert (endpoint.dialect, endpoint.owned, endpoint.context) == ("llama-server", True, 512)
    assert server.asked == ["GET /props", "GET /props", "POST /v1/chat/completions"]
    (question,) = server.bodies
    assert (question["model"], question["max_tokens"], question["stream"]) == ("tiny", 12, False)


def test_an_engine_that_was_proven_before_is_not_made_to_generate_again() -> None:
    with engine(spoken=(500, {})) as server:
        assert proven(record(state="ready")) is not None
    assert server.asked == ["GET /props", "GET /props"]


def test_each_proof_tries_another_wrong_key() -> None:
    with engine() as server:
        proven(record(state="ready"))
        proven(record(state="ready"))
    keys = [key for _, key in server.seen]
    assert keys[0] == keys[2] == f"Bearer {KEY}"
    assert len({*keys}) == 3


def test_a_process_that_does_not_listen_yet_is_not_ready() -> None:
    assert proven(record()) is None


def test_an_engine_that_is_loading_is_not_ready_and_not_bothered() -> None:
    with engine(props=(503, {})) as server:
        assert proven(record()) is None
    assert server.asked == ["GET /props"]


def test_an_engine_that_says_nothing_is_not_ready() -> None:
    with engine(props=(200, None)):
        assert proven(record()) is None


def test_an_engine_that_says_nothing_to_a_wrong_key_is_not_ready() -> None:
    with engine(stranger=(200, None)) as server:
        assert proven(record()) is None
    assert server.bodies == []


LISTENS = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.socket(family)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
if family == socket.AF_INET6:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen()
print()
input()
"""


@contextmanager
def stranger_at(host: str, port: int) -> Iterator[None]:
    words = [sys.executable, "-IuSc", LISTENS, host, str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        yield
        other.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="a second loopback address is Linux's")
@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_somebody_elses_listener_on_another_address_is_none_of_our_business(host: str) -> None:
    with engine() as server, stranger_at(host, server.port):
        assert proven(record()) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the table of all sockets needs privileges")
def test_another_listener_on_our_very_address_is_refused_before_anything_is_believed() -> None:
    with engine(props=(500, {})) as server, stranger_at("127.0.0.1", server.port):
        why = refusal(server, record())
    assert server.seen == []
    assert why == f"another process listens on port {server.port} too"


@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_engine_that_answers_our_key_with_another_status_is_refused(status: int) -> None:
    with engine(props=(status, {})) as server:
        assert refusal(server, record()) == f"it answers our key with {status}"


@pytest.mark.promise("S17")
@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_engine_that_does_not_refuse_a_wrong_key_is_refused(status: int) -> None:
    with engine(stranger=(status, PROPS)) as server:
        assert refusal(server, record()) == f"it answers a wrong key with {status}"
    assert server.bodies == []


@pytest.mark.parametrize("status", [401, 403])
def test_both_ways_to_refuse_a_key_will_do(status: int) -> None:
    with engine(stranger=(status, {})):
        assert proven(record()) is not None


def test_an_engine_that_serves_another_model_is_refused() -> None:
    with engine(props=(200, {**PROPS, "model_alias": "huge"})) as server:
        assert refusal(server, record()) == "it serves `huge`"
    assert server.bodies == []


@pytest.mark.parametrize("alias", ["", None])
def test_an_engine_that_does_not_name_its_model_is_believed(alias: str | None) -> None:
    with engine(props=(200, {"model_alias": alias})):
        endpoint = proven(record())
    assert endpoint is not None
    assert endpoint.context is None


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        ((500, {"error": "cannot decode"}), '500 {"error": "cannot decode"}'),
        ((200, {}), "200 {}"),
        ((200, {"choices": []}), '200 {"choices": []}'),
        (
            (200, {"choices": [1], "usage": {"completion_tokens": 0}}),
            '200 {"choices": [1], "usage": {"completion_tokens": 0}}',
        ),
        ((200, b"x" * 300), "200 " + "x" * 200),
        ((200, None), "nothing"),
    ],
)
def test_an_engine_that_loads_but_does_not_generate_is_refused_after_a_second_try(spoken: Said, said: str) -> None:
    with engine(spoken=spoken) as server:
        assert refusal(server, record()) == f"it loads but does not generate (it said {said})"
    assert server.asked.count("POST /v1/chat/completions") == 2


def test_an_engine_that_generates_at_the_second_try_is_ready() -> None:
    with engine(spoken=[(500, {}), SPOKE]) as server:
        assert proven(record()) is not None
    assert server.asked.count("POST /v1/chat/completions") == 2


@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": None}, "none"])
def test_an_engine_that_does_not_count_its_tokens_is_believed(usage: object) -> None:
    with engine(spoken=(200, {"choices": [1], "usage": usage})):
        assert proven(record()) is not None


@pytest.mark.parametrize(
    "text",
    [
        "@@@@@@@@@@",
        "GGGGGGGGGGGG",
        "\ufffd\ufffd\ufffd\ufffd a \ufffd\ufffd\ufffd\ufffd",
        "\x01\x02\x03\x04\x05\x06\x07\x08",
    ],
)
def test_what_no_model_would_write_is_nonsense(text: str) -> None:
    assert nonsense(text)


@pytest.mark.parametrize(
    "text", ["", "Hi", "!!!", "One, two, three", "- - - five", "Один, два", "一、二、三、四、五", "aaaaaaab c"]
)
def test_a_small_models_foolish_words_are_words(text: str) -> None:
    assert not nonsense(text)
