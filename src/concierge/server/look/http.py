"""HTTP requests to servers on this machine, small enough for every command.

An HTTP library costs more to import than all of these requests together, and nothing here ever leaves loopback:
:func:`loopback` is the only maker of addresses.
"""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

BODY_CAP = 4 << 20
"""More than any model list or ``/props`` needs; a server that sends more is cut off."""

LOOPBACK = re.compile(r"localhost|::1|127(\.\d{1,3}){3}", re.IGNORECASE)

Silence = Literal["refused", "silent"]
"""No answer: nobody listens, or somebody does and says nothing that is HTTP in time."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server on this machine listens, and the path that its API starts at."""

    host: str
    port: int
    root: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as an object, empty when it is something else."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def loopback(base_url: str) -> Address | None:
    """Return the address of ``base_url``, or None when it is not on this machine."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if not LOOPBACK.fullmatch(host):
        return None
    tls = parts.scheme == "https"
    return Address(host, port or (443 if tls else 80), parts.path.rstrip("/"), tls)


def get(address: Address, path: str, *, key: str | None = None, timeout: float = 3.0) -> Answer | Silence:
    """Send ``GET root+path`` and return the answer."""
    return _exchange(address, f"GET {address.root}{path}", key, b"", timeout)


def post(
    address: Address, path: str, body: dict[str, Any], *, key: str | None = None, timeout: float
) -> Answer | Silence:
    """Send ``POST root+path`` with a JSON body and return the answer."""
    return _exchange(address, f"POST {address.root}{path}", key, json.dumps(body).encode(), timeout)


def _exchange(address: Address, line: str, key: str | None, body: bytes, timeout: float) -> Answer | Silence:
    deadline = time.monotonic() + timeout
    connection = _connect(address, timeout)
    if isinstance(connection, str):
        return connection
    with connection:
        try:
            connection.sendall(_head(address, line, key, body) + body)
            return _parse(_read(connection, deadline))
        except (OSError, ValueError):
            return "silent"


def _connect(address: Address, timeout: float) -> socket.socket | Silence:
    # A resolver may take seconds over "localhost" and may prefer the family that nobody listens on.
    hosts = ("127.0.0.1", "::1") if address.host.lower() == "localhost" else (address.host,)
    silence: Silence = "refused"
    for host in hosts:
        try:
            connection = socket.create_connection((host, address.port), timeout=timeout)
        except TimeoutError:
            silence = "silent"
        except OSError:
            continue
        else:
            return _secured(connection, address) if address.tls else connection
    return silence


def _secured(connection: socket.socket, address: Address) -> socket.socket | Silence:
    import ssl

    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=address.host)
    except OSError:
        connection.close()
        return "silent"


def _head(address: Address, line: str, key: str | None, body: bytes) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [f"{line} HTTP/1.0", f"Host: {host}:{address.port}", "Accept: application/json"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


def _read(connection: socket.socket, deadline: float) -> bytes:
    """Read to the end of the connection, or of the announced body: some servers keep it open all the same."""
    data = bytearray()
    end = BODY_CAP
    while len(data) < end:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
        if end == BODY_CAP and (split := data.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"\r\ncontent-length:\s*(\d+)", data[: split + 2], re.IGNORECASE)
            end = min(split + 4 + int(length[1]), BODY_CAP) if length else BODY_CAP
    return bytes(data)


def _parse(data: bytes) -> Answer | Silence:
    head, _, body = data.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return Answer(int(status[1]), body) if status else "silent"
