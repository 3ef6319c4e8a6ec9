from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.agent.runs import list_runs
from concierge.api import server
from concierge.api.server import Server, listen
from concierge.errors import ConfigError
from tests.rivers import FakeRiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.api.conftest import Api

SERVING = """
import asyncio, pathlib, sys
from dataclasses import replace
from concierge.api.server import serve
from concierge.config.kinds import Secret
from concierge.chat.fake import FakeChat
from tests.rivers import FakeRiver

async def wait():
    print("asked", flush=True)
    await asyncio.Event().wait()

root, host, token = sys.argv[1:]
river = FakeRiver(pathlib.Path(root), FakeChat([lambda _: wait()]))
api = replace(river.config.api, host=host, port=0, token=Secret(token) if token else None)
river.config = replace(river.config, api=api)
try:
    serve(river, say=lambda line: print(line.removeprefix("Serving "), flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_server_answers_once_it_says_it_is_ready(api: Api) -> None:
    ready = threading.Event()
    told: list[str] = []

    def on_ready(url: str) -> None:
        told.append(url)
        ready.set()

    with listen("127.0.0.1", 0, token_chosen=False) as listener:
        serving = Server(api.app(), listener=listener, on_ready=on_ready)
        thread = threading.Thread(target=serving.run)
        thread.start()
        try:
            assert ready.wait(5)
            assert httpx.get(f"{told[0]}/health", trust_env=False).json()["ok"]
        finally:
            serving.should_exit = True
            thread.join(5)
    assert not thread.is_alive()


@contextlib.contextmanager
def serving(
    root: Path, *, host: str = "127.0.0.1", token: str = "secret"
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve in a program of its own; give it and its URL."""
    child = subprocess.Popen(
        [sys.executable, "-c", SERVING, str(root), host, token],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def listing(url: str, token: str, **headers: str) -> int:
    headers = {"Authorization": f"Bearer {token}", **headers}
    return httpx.get(f"{url}/runs", headers=headers, trust_env=False).status_code


@pytest.mark.parametrize(
    ("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)], ids=["ctrl-c", "terminate"]
)
def test_a_signal_ends_every_run_and_then_the_server(tmp_path: Path, sent: signal.Signals, exit_code: int) -> None:
    with serving(tmp_path) as (child, url):
        headers = {"Authorization": "Bearer secret"}
        begun = httpx.post(f"{url}/runs", json={"task": "t"}, headers=headers, trust_env=False)
        assert begun.status_code == 202
        assert line(child) == "asked\n"
        child.send_signal(sent)
        assert child.wait(60) == exit_code
    assert [(run.id, run.result.status) for run in list_runs(tmp_path)] == [(begun.json()["id"], "interrupted")]


def test_a_token_that_nobody_chose_is_made_up_and_told(tmp_path: Path) -> None:
    with serving(tmp_path, token="") as (child, url):
        told, _, token = line(child).strip().rpartition(" ")
        assert told == "Bearer token for this start:"
        assert len(token) >= 32
        assert (listing(url, token), listing(url, "secret")) == (200, 401)


def test_a_token_that_was_chosen_holds_and_is_not_told(tmp_path: Path) -> None:
    with serving(tmp_path) as (child, url):
        assert (listing(url, "secret"), listing(url, "wrong")) == (200, 401)
        child.send_signal(signal.SIGINT)
        assert line(child) == ""


def test_the_name_that_is_listened_on_is_a_host_that_may_be_asked(tmp_path: Path) -> None:
    with serving(tmp_path, host="box.localhost") as (_, url):
        port = url.rpartition(":")[2]
        assert listing(url, "secret", Host=f"box.localhost:{port}") == 200
        assert listing(url, "secret", Host=f"other.localhost:{port}") == 403


def test_nothing_is_started_for_an_address_that_may_not_be_listened_on(tmp_path: Path) -> None:
    river = FakeRiver(tmp_path)
    river.config = replace(river.config, api=replace(river.config.api, host="0.0.0.0", token=None))
    with pytest.raises(ConfigError, match="no token was chosen"):
        server.serve(river, say=print)
    assert river.asked == []


@pytest.mark.promise("S20")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.local", ""])
def test_an_open_address_needs_a_token_of_the_users_own(host: str) -> None:
    with pytest.raises(ConfigError, match="no token was chosen") as caught:
        listen(host, 0, token_chosen=False)
    assert caught.value.where == "api.host"


def test_an_open_address_with_a_chosen_token_is_listened_on() -> None:
    with listen("0.0.0.0", 0, token_chosen=True) as listener:
        assert server.url(listener).startswith("http://0.0.0.0:")


def test_a_taken_port_is_one_sentence() -> None:
    with listen("127.0.0.1", 0, token_chosen=False) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen") as caught:
            listen("127.0.0.1", port, token_chosen=False)
    assert caught.value.where == "api.port"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_url_has_brackets() -> None:
    try:
        listener = listen("::1", 0, token_chosen=False)
    except ConfigError:
        pytest.skip("no IPv6 loopback here")
    with listener:
        assert server.url(listener).startswith("http://[::1]:")


@pytest.mark.skipif(os.name != "posix", reason="bounds the file handles of a shell")
def test_connections_beyond_the_file_handles_wait_and_are_said_once(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SERVING, str(tmp_path), "127.0.0.1", "token"]
    bounded = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *words]
    with subprocess.Popen(bounded, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = int(url.rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            assert "No file handles are left" in process.stdout.readline()
        assert httpx.get(f"{url}/health", timeout=10).status_code == 200
        process.send_signal(signal.SIGINT)
        said, trouble = process.communicate(timeout=20)
    assert "No file handles" not in said
    assert trouble == ""
