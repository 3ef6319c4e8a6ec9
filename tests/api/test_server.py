from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.agent.runs import list_runs
from concierge.api import server
from concierge.api.server import Server, listen
from concierge.errors import ConfigError

if TYPE_CHECKING:
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

river = FakeRiver(pathlib.Path(sys.argv[1]), FakeChat([lambda _: wait()]))
api = replace(river.config.api, port=0, token=Secret("secret"))
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


@pytest.mark.parametrize(
    ("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)], ids=["ctrl-c", "terminate"]
)
def test_a_signal_ends_every_run_and_then_the_server(tmp_path: Path, sent: signal.Signals, exit_code: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SERVING, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            url = child.stdout.readline().strip()
            headers = {"Authorization": "Bearer secret"}
            begun = httpx.post(f"{url}/runs", json={"task": "t"}, headers=headers, trust_env=False)
            assert begun.status_code == 202
            assert child.stdout.readline() == "asked\n"
            child.send_signal(sent)
            assert child.wait(10) == exit_code
        finally:
            child.kill()
    assert [(run.id, run.result.status) for run in list_runs(tmp_path)] == [(begun.json()["id"], "interrupted")]


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
