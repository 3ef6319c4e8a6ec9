"""Which processes are our server: those that carry its mark, whatever is on the disk."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from concierge import mutex
from concierge.config.keys import Llm
from concierge.errors import StartError
from concierge.paths import Home
from concierge.server import launches
from concierge.server import record as records
from concierge.server.ensure import ensure
from concierge.server.processes import table
from concierge.server.record import Folder
from concierge.server.status import status
from tests.server.conftest import Place
from tests.server.test_supervisor import answers
from tests.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concierge.endpoint import Endpoint
    from tests.server.conftest import Fake

SERVER = """
import http.server, json, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": "m"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
port, gate = int(sys.argv[1]), sys.argv[2]
if "daemon" in sys.argv:
    if os.fork():
        os._exit(0)
    os.setsid()
    os.closerange(3, 64)
while not os.path.exists(gate):
    time.sleep(0.02)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def lost(place: Place) -> None:
    shutil.rmtree(place.home.run)


def garbled(place: Place) -> None:
    Folder(place.home, place.record().launch).file.write_text("{")


@pytest.mark.parametrize("harm", [lost, garbled])
def test_a_server_whose_record_is_gone_is_found_again(place: Place, fake: Fake, harm: Callable[[Place], None]) -> None:
    endpoint = place.ensure(fake())
    running = place.running()
    harm(place)
    seen = status(place.home)
    assert (seen.state, seen.answers, seen.base_url) == ("ready", True, endpoint.base_url)
    assert place.ensure(fake()) == endpoint
    assert place.running() == running
    assert place.record().state == "ready"
    harm(place)
    assert place.down() is not None
    assert place.running() == []


def test_a_folder_that_is_lost_during_a_start_does_not_end_it(place: Place, fake: Fake, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    starter = place.start(fake(ready_when=str(gate)))
    until(place.starting)
    lost(place)
    gate.touch()
    assert "endpoint" in starter.communicate(timeout=60)[0]
    assert len(place.running()) == 1
    assert status(place.home).state == "ready"


def test_a_server_of_another_home_is_not_ours(place: Place, fake: Fake, tmp_path: Path) -> None:
    place.ensure(fake())
    shutil.copytree(place.home.root, tmp_path / "copy")
    copy = Home(tmp_path / "copy")
    assert launches.living(copy) == []
    assert records.recorded(copy) == []
    assert status(copy).state == "absent"


def test_a_home_by_another_name_is_the_same_home(place: Place, fake: Fake, tmp_path: Path) -> None:
    place.ensure(fake())
    (tmp_path / "link").symlink_to(place.home.root)
    linked = Home(tmp_path / "link")
    lost(place)
    assert [launch.record.model for launch in launches.here(linked)] == ["tiny"]


def test_a_server_that_lives_elsewhere_is_left_alone_and_ours_starts_beside_it(place: Place, fake: Fake) -> None:
    endpoint = place.ensure(fake())
    record = place.record()
    elsewhere = json.dumps({**json.loads(record.text), "launch": "abroad", "identity": None})
    folder = Folder(place.home, "abroad")
    folder.make()
    folder.file.write_text(elsewhere)
    with mutex.held_file(folder.alive):
        place.down()
        assert folder.file.read_text() == elsewhere
        assert status(place.home).state == "elsewhere"
        assert place.ensure(fake()) != endpoint
        assert len(place.running()) == 1
        assert folder.file.read_text() == elsewhere
        assert status(place.home).state == "ready"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Command:
    """A start command of the user's, and the gate that its server waits for before it listens."""

    def __init__(self, place: Place, tmp_path: Path) -> None:
        self.place, self.gate, self.port = place, tmp_path / "gate", free_port()
        self.file = tmp_path / "server.py"
        self.file.write_text(SERVER)
        self.serve = f"{sys.executable} -IS {self.file} {self.port} {self.gate}"

    def obtain(self, *words: str, timeout_s: float = 20.0) -> Endpoint:
        llm = Llm(
            base_url=f"http://127.0.0.1:{self.port}/v1",
            local_llm_start_cmd=words,
            local_llm_start_timeout_s=timeout_s,
            model="m",
        )
        place = self.place
        return ensure(
            llm, model="m", prepare=pytest.fail, home=place.home, say=place.said.append, environ=place.environ
        )

    def processes(self) -> list[str]:
        found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return [line for line in found.splitlines() if str(self.file) in line and "ps -eo" not in line]


@pytest.fixture
def command(place: Place, tmp_path: Path) -> Command:
    return Command(place, tmp_path)


WAYS = {
    "foreground": "exec {serve}",
    "child of a shell": "{serve}; exit 1",
    "left by a shell": "{serve} &",
    "daemon": "{serve} daemon",
    "without the mark": "env -i {serve}; exit 1",
    "without the mark, in its own session": "setsid env -i {serve}; exit 1",
}


@pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX shell")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_command_is_its_launch_however_it_starts_its_server(command: Command, place: Place, way: str) -> None:
    words = ("sh", "-c", way.format(serve=command.serve))
    got: list[Any] = []
    both = [threading.Thread(target=lambda: got.append(command.obtain(*words))) for _ in range(2)]
    for thread in both:
        thread.start()
    until(lambda: not place.clear() and place.users() == 2)
    command.gate.touch()
    for thread in both:
        thread.join(30)
    assert [endpoint.owned for endpoint in got] == [True, True]
    assert command.obtain(*words).owned
    assert place.down() is not None
    assert command.processes() == []
    assert place.clear()


@pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX shell")
def test_a_command_that_fails_leaves_none_of_its_children(command: Command, place: Place) -> None:
    with pytest.raises(StartError, match="with exit code 3"):
        command.obtain("sh", "-c", f"{command.serve} & exit 3")
    assert command.processes() == []
    assert place.clear()


def test_a_server_that_died_is_not_taken_for_its_children(place: Place, fake: Fake) -> None:
    first = place.ensure(fake("forks"))
    leader = place.record().identity
    assert leader is not None
    table.send(leader, signal.SIGKILL)
    assert table.gone([leader], within_s=5)
    assert status(place.home).state == "dead"
    assert place.ensure(fake("forks")) != first
    assert len(place.running()) == 2


def test_two_homes_on_one_machine_do_not_see_one_another(place: Place, fake: Fake, tmp_path: Path) -> None:
    endpoint = place.ensure(fake())
    other = Place(Home(tmp_path / "other"), place.environ)
    assert other.down() is None
    assert answers(endpoint.base_url)
