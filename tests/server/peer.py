"""A small real HTTP server that says what it is told to, and remembers who asked for what with which key."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from concierge.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Said = tuple[int, object]
"""A status, and a document; None for the document means that the connection just closes."""


@dataclass
class Peer:
    """What it says to a request, by method, path and key; the last of several sayings stays."""

    says: Callable[[str, str | None], Said | list[Said]]
    port: int = 0
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def endpoint(self, model: str = "m", key: str | None = None) -> Endpoint:
        return Endpoint(self.base_url, model, key)

    @property
    def asked(self) -> list[str]:
        return [line for line, _ in self.seen]

    def answer(self, line: str, key: str | None) -> Said:
        said = self.says(line, key)
        if isinstance(said, list):
            return said[min(self.asked.count(line), len(said)) - 1]
        return said


@contextmanager
def peer(says: Callable[[str, str | None], Said | list[Said]]) -> Iterator[Peer]:
    peer = Peer(says)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.told()

        def do_POST(self) -> None:
            peer.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.told()

        def told(self) -> None:
            line, key = f"{self.command} {self.path}", self.headers.get("Authorization")
            peer.seen.append((line, key))
            status, document = peer.answer(line, key)
            if document is None:
                return
            body = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in peer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        allow_reuse_port = True
        """Whoever wants may listen there as well."""

    with Server(("127.0.0.1", 0), Handler) as server:
        peer.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield peer
        finally:
            server.shutdown()
            thread.join(5)
