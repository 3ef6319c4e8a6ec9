from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.server.look import http

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def speaker(*pieces: bytes, close: bool = True) -> Iterator[tuple[http.Address, list[bytes]]]:
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
                    done.wait(5)

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield http.Address("127.0.0.1", listener.getsockname()[1], "/v1"), heard
        done.set()
        thread.join(5)


def test_a_request_carries_the_key_and_the_answer_its_json() -> None:
    with speaker(b'HTTP/1.1 200 OK\r\n\r\n{"a"', b": 1}") as (address, heard):
        answer = http.get(address, "/models", key="k")
    assert isinstance(answer, http.Answer)
    assert (answer.status, answer.json()) == (200, {"a": 1})
    assert heard[0].startswith(b"GET /v1/models HTTP/1.0\r\n")
    assert b"\r\nAuthorization: Bearer k\r\n" in heard[0]


def test_an_announced_length_ends_the_body_of_a_server_that_keeps_the_connection() -> None:
    with speaker(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}", close=False) as (address, _):
        answer = http.post(address, "/x", {"b": 2}, timeout=5)
    assert answer == http.Answer(503, b"{}")


def test_a_body_without_end_is_cut_off() -> None:
    with speaker(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (http.BODY_CAP + (1 << 16))) as (address, _):
        answer = http.get(address, "/")
    assert isinstance(answer, http.Answer)
    assert len(answer.body) <= http.BODY_CAP + (1 << 16)


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 99])
def test_what_is_not_http_is_silence(words: bytes) -> None:
    with speaker(words) as (address, _):
        assert http.get(address, "/") == "silent"


def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with speaker(close=False) as (address, _):
        assert http.get(address, "/", timeout=0.1) == "silent"


def test_a_port_that_nobody_listens_on_refuses() -> None:
    assert http.get(http.Address("127.0.0.1", 1), "/") == "refused"
    assert http.get(http.Address("localhost", 1), "/") == "refused"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080/v1/", http.Address("127.0.0.1", 8080, "/v1")),
        ("http://localhost/v1", http.Address("localhost", 80, "/v1")),
        ("https://[::1]:8443", http.Address("::1", 8443, "", tls=True)),
        ("http://127.9.9.9", http.Address("127.9.9.9", 80)),
    ],
)
def test_addresses_of_this_machine(url: str, address: http.Address) -> None:
    assert http.loopback(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1.example.org/v1",
        "http://localhost.example.org",
        "http://127.0.0.1@192.0.2.1/",
        "http://0.0.0.0:1/v1",
        "http://10.0.0.1/v1",
        "http://127.0.0.1:99999/v1",
        "http://[::1",
        "",
    ],
)
def test_addresses_that_are_not_of_this_machine(url: str) -> None:
    assert http.loopback(url) is None


@given(st.text())
def test_no_text_makes_the_address_reader_fail(url: str) -> None:
    http.loopback(url)
