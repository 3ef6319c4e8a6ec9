"""The look and the chat against the same real listener: two clients that must never tell two stories."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge import net
from concierge.chat.client import OpenAICompatibleChatClient
from concierge.chat.failure import RetryPolicy
from concierge.config.keys import Llm
from concierge.endpoint import Endpoint
from concierge.errors import ConfigError, TransportError
from concierge.net import web
from concierge.paths import Home
from concierge.server.look import look
from concierge.server.status import status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}
QUESTION = [{"role": "user", "content": "Hello?"}]


class Heard(list[dict[str, str]]):
    """The headers of each request."""

    port = 0


@contextmanager
def server(host: str, *, certificate: Path | None = None) -> Iterator[Heard]:
    """Serve the model ``m`` on one address only."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say({"data": [{"id": "m"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(GOOD)

        def say(self, document: object) -> None:
            heard.append({name.lower(): value for name, value in self.headers.items()})
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, *_: object) -> None:
            """A client that does not trust us breaks off; that is no error of the server."""

    try:
        listening = Server((host, 0), Handler)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    with listening:
        heard.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield heard
        finally:
            listening.shutdown()
            thread.join(5)


def chat(endpoint: Endpoint) -> str:
    async def ask() -> str:
        async with OpenAICompatibleChatClient(endpoint, retry=RetryPolicy(attempts=1)) as client:
            return await client.chat(QUESTION, endpoint.model)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("listens", "named"),
    [
        ("::1", "localhost"),
        ("::1", "x.localhost"),
        ("::1", "[::]"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "LOCALHOST"),
        ("127.0.0.1", "x.localhost"),
        ("127.0.0.1", "0.0.0.0"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
    ],
)
def test_a_server_that_the_look_finds_is_found_by_the_chat(listens: str, named: str, tmp_path: Path) -> None:
    with server(listens) as heard:
        endpoint = Endpoint(f"http://{named}:{heard.port}/v1", "m", "key")
        assert look(endpoint).presence == "listed"
        assert chat(endpoint) == "Hi."
        beside = status(Home(tmp_path), Llm(base_url=endpoint.base_url), environ={}).configured
    assert beside is not None
    assert beside.presence == "listed"
    assert {request["host"] for request in heard} == {endpoint.address.place}
    assert [request.get("authorization") for request in heard] == ["Bearer key", "Bearer key", None, None]


def test_a_server_that_listens_on_neither_is_missed_by_both() -> None:
    with server("127.0.0.1") as heard:
        pass
    endpoint = Endpoint(f"http://localhost:{heard.port}/v1", "m")
    assert look(endpoint).presence == "refused"
    with pytest.raises(TransportError, match="connection refused") as caught:
        chat(endpoint)
    assert caught.value.hint == "Start that server, or correct `base_url`."


def test_a_line_break_around_a_key_is_on_nobodys_wire() -> None:
    with server("127.0.0.1") as heard:
        endpoint = Endpoint(f"http://127.0.0.1:{heard.port}/v1", "m", " key\r\n")
        look(endpoint)
        chat(endpoint)
    assert [request["authorization"] for request in heard] == ["Bearer key", "Bearer key"]


def test_credentials_of_the_url_are_sent_by_both() -> None:
    with server("127.0.0.1") as heard:
        endpoint = Endpoint(f"http://user:word@127.0.0.1:{heard.port}/v1", "m")
        look(endpoint)
        chat(endpoint)
    assert {request["authorization"] for request in heard} == {"Basic dXNlcjp3b3Jk"}


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for ``localhost`` that nobody has signed but itself, and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    names = "subjectAltName=DNS:localhost,DNS:x.localhost"
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(file.with_suffix(".key")))
    words = (program, "req", "-x509", *key, "-out", str(file), "-days", "2", "-subj", "/CN=own", "-addext", names)
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    file.write_text(file.with_suffix(".key").read_text() + file.read_text())
    return file


@pytest.mark.parametrize("listens", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_private_authority_is_trusted_by_both_or_by_none(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, listens: str
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with server(listens, certificate=certificate) as heard:
        endpoint = Endpoint(f"https://localhost:{heard.port}/v1", "m")
        assert look(endpoint).presence == "untrusted"
        with pytest.raises(TransportError, match=r"(?i)certificate"):
            chat(endpoint)
        assert heard == []
        monkeypatch.setenv(variable, str(certificate if variable == "SSL_CERT_FILE" else hashed(certificate, tmp_path)))
        assert look(endpoint).presence == "listed"
        assert chat(endpoint) == "Hi."


def hashed(certificate: Path, folder: Path) -> Path:
    """Lay the certificate into a folder under the name that OpenSSL looks for."""
    program = shutil.which("openssl") or "openssl"
    words = (program, "x509", "-noout", "-hash", "-in", str(certificate))
    digest = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    shutil.copy(certificate, folder / f"{digest}.0")
    return folder


def test_a_certificate_for_another_name_is_trusted_by_none(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server("127.0.0.1", certificate=certificate) as heard:
        endpoint = Endpoint(f"https://127.0.0.1:{heard.port}/v1", "m")
        assert look(endpoint).presence == "untrusted"
        with pytest.raises(TransportError, match=r"(?i)certificate"):
            chat(endpoint)
    assert heard == []


def test_certificates_that_are_not_there_are_a_sentence_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with server("127.0.0.1") as heard:
        endpoint = Endpoint(f"https://127.0.0.1:{heard.port}/v1", "m")
        for asking in (look, chat):
            with pytest.raises(ConfigError, match=r"none\.pem cannot be read") as caught:
                asking(endpoint)
            assert caught.value.where == "SSL_CERT_FILE"
        # Plain HTTP reads no certificates.
        assert chat(Endpoint(f"http://127.0.0.1:{heard.port}/v1", "m")) == "Hi."


def test_the_certificates_of_the_system_hold_where_nothing_is_set() -> None:
    own = ssl.create_default_context().cert_store_stats()["x509_ca"]
    assert net.certificates({}).cert_store_stats()["x509_ca"] >= max(own, 1)


# Downloads


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_never_stands_between_this_machine_and_a_download_from_it(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with server("127.0.0.1") as heard, web.downloads({}, follow_redirects=False) as client:
        assert client.get(f"http://{host}:{heard.port}/file").status_code == 200
        with pytest.raises(httpx.ConnectError):
            client.get("http://example.invalid/file")
