"""The hub as a real server, which sends whoever wants the bytes to another one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.catalog.reference import Hub, Local
from concierge.gguf.facts import facts_of
from concierge.gguf.header import read_header
from concierge.lock.foreign import Describer
from concierge.lock.hub import HttpHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec

COMMIT = "5" * 40


@dataclass
class World:
    """Files by name, the two servers' addresses, and how many bytes of the files were sent."""

    files: dict[str, bytes]
    hub: str = ""
    store: str = ""
    sent: list[int] = field(default_factory=list)


def handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._redirect()

        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            if self.path.startswith("/api/"):
                self._answer(200, json.dumps({"cardData": {"license": "mit"}}).encode(), {})
            elif self.path.startswith("/blob/"):
                whole = world.files[name]
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                part = whole[first : last + 1]
                world.sent.append(len(part))
                self._answer(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(whole)}"})
            else:
                self._redirect()

        def _redirect(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            headers = {
                "Location": f"{world.store}/blob/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(world.files[name])),
                "X-Linked-Etag": f'"{hashlib.sha256(world.files[name]).hexdigest()}"',
            }
            self._answer(302, b"", headers)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            # A reader that has its header closes before the end.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def online(files: dict[str, bytes]) -> Iterator[World]:
    world = World(files)
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler(world)) for _ in range(2)]
    world.hub, world.store = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield world
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join(5)
            server.server_close()


def test_size_hash_and_header_come_over_the_wire_without_the_file(gguf_bytes: bytes) -> None:
    content = gguf_bytes + bytes(4 << 20)
    with online({"M-Q4_K_M.gguf": content}) as world, httpx.Client(trust_env=False) as client:
        hub = HttpHub(client, base=world.hub)
        found = hub.look_up(Hub("o/r", "sub/M-Q4_K_M.gguf", COMMIT), "sub/M-Q4_K_M.gguf")
        header = read_header(found.reader, name=found.url)
    assert (found.size, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.url == f"{world.hub}/o/r/resolve/{COMMIT}/sub/M-Q4_K_M.gguf"
    assert found.licence == "mit"
    assert header.metadata["general.architecture"] == "llama"
    assert sum(world.sent) < len(content) / 4


@pytest.mark.real
def test_a_real_model_is_the_same_over_the_wire_as_from_the_disk(real_spec: ServerSpec) -> None:
    path: Path = real_spec.model_path
    with online({path.name: path.read_bytes()}) as world, httpx.Client(trust_env=False) as client:
        hub = HttpHub(client, base=world.hub)
        model = Describer(hub)(Local(path))
        found = hub.look_up(Hub("o/r", path.name, COMMIT), path.name)
        header = read_header(found.reader, name=found.url)
    assert (found.size, found.sha256) == (model.size, model.artefact[0].sha256)
    assert facts_of(header, name=path.name) == model.gguf
    assert sum(world.sent) < model.size / 10
