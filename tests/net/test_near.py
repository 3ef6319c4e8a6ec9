from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from concierge.endpoint import Endpoint
from concierge.net import near

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def speaker(*pieces: bytes, close: bool = True) -> Iterator[tuple[Endpoint, list[bytes]]]:
    """Answer one connection with ``pieces`` and give what it sent."""
    heard: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65536))
                for piece in pieces:
                    connection.sendall(piece)
                if not close:
                    done.wait(60)

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", "k"), heard
        done.set()
        thread.join(5)


def test_a_request_carries_the_key_and_the_answer_its_json() -> None:
    with speaker(b'HTTP/1.1 200 OK\r\n\r\n{"a"', b": 1}") as (server, heard):
        answer = near.ask(server, "/models")
    assert isinstance(answer, near.Answer)
    assert (answer.status, answer.json()) == (200, {"a": 1})
    assert heard[0].startswith(b"GET /v1/models HTTP/1.0\r\n")
    assert b"\r\nAuthorization: Bearer k\r\n" in heard[0]


def test_an_announced_length_ends_the_body_of_a_server_that_keeps_the_connection() -> None:
    with speaker(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}", close=False) as (server, _):
        answer = near.ask(server, "/x", {"b": 2}, timeout=20)
    assert answer == near.Answer(503, b"{}")


def test_a_body_without_end_is_cut_off() -> None:
    with speaker(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (near.BODY_CAP + (1 << 16))) as (server, _):
        answer = near.ask(server, "/")
    assert isinstance(answer, near.Answer)
    assert len(answer.body) <= near.BODY_CAP + (1 << 16)


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 99])
def test_what_is_not_http_is_silence(words: bytes) -> None:
    with speaker(words) as (server, _):
        assert near.ask(server, "/") == "silent"


def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with speaker(close=False) as (server, _):
        assert near.ask(server, "/", timeout=0.1) == "busy"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "x.localhost", "[::1]"])
def test_a_port_that_nobody_listens_on_refuses(host: str) -> None:
    assert near.ask(Endpoint(f"http://{host}:1", "m"), "/") == "refused"


def test_another_machine_is_never_asked() -> None:
    with pytest.raises(AssertionError, match="only servers on this machine"):
        near.ask(Endpoint("http://192.0.2.1/v1", "m"), "/models")
