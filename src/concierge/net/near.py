"""HTTP requests to servers on this machine, small enough for every command; nothing here ever leaves it.

An HTTP library costs more to import than all of these requests together. What could tell this from the library's
client is therefore not here but in the ``Endpoint`` that both take: the hosts to try, the header, the key as sent.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from concierge import jsontext, net

if TYPE_CHECKING:
    from concierge.endpoint import Address, Endpoint

BODY_CAP = 4 << 20
"""More than any model list or ``/props`` needs; a server that sends more is cut off."""

Silence = Literal["refused", "busy", "untrusted", "silent"]
"""No answer: nobody listens; somebody does and says nothing in time; its certificate is not trusted; it is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes
    location: str = ""

    def json(self) -> dict[str, Any]:
        """Return the body as an object, empty when it is something else."""
        return jsontext.parse_object(self.body) or {}


def ask(
    endpoint: Endpoint, path: str, question: dict[str, Any] | None = None, *, timeout: float = 3.0
) -> Answer | Silence:
    """Send ``GET base_url+path``, or ``POST`` with a question as JSON, and return the answer."""
    assert endpoint.address.loopback, "only servers on this machine are asked"
    deadline = time.monotonic() + timeout
    try:
        with _connect(endpoint.address, timeout) as connection:
            connection.sendall(_request(endpoint, path, question))
            return _parse(_read(connection, deadline))
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "busy"
    except (OSError, ValueError) as error:
        # Its class is known only where TLS was: this module is imported by commands that never need it.
        return "untrusted" if type(error).__name__ == "SSLCertVerificationError" else "silent"


def _connect(address: Address, timeout: float) -> socket.socket:
    """Connect to the first host that answers; only one that nobody listens at is a refusal."""
    trusted = net.certificates(os.environ) if address.scheme == "https" else None
    failure: OSError = ConnectionRefusedError()
    for host in address.hosts:
        try:
            connection = socket.create_connection((host, address.port), timeout=timeout)
        except TimeoutError as error:
            failure = error
        except OSError:
            continue
        else:
            return trusted.wrap_socket(connection, server_hostname=address.host) if trusted else connection
    raise failure


def _request(endpoint: Endpoint, path: str, question: dict[str, Any] | None) -> bytes:
    address, signed = endpoint.address, endpoint.authorization
    method, body = ("GET", b"") if question is None else ("POST", json.dumps(question).encode())
    query = f"?{address.query}" if address.query else ""
    lines = [f"{method} {address.path}{path}{query} HTTP/1.0", f"Host: {address.place}", "Accept: application/json"]
    if signed:
        lines.append(": ".join(signed))
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + body


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
    place = re.search(rb"(?i)\r\nlocation:[ \t]*([^\r\n]*)", head)
    return Answer(int(status[1]), body, place[1].decode(errors="replace") if place else "") if status else "silent"
