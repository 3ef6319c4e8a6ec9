from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.errors import ServerError
from concierge.server.processes import table
from concierge.server.record import Record, RecordFile
from concierge.server.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.server.processes.identity import Identity
    from tests.server.conftest import Fake, Place


def recorded(place: Place, identity: Identity, **more: object) -> Record:
    """Write a record that names ``identity`` as our server."""
    record = Record(
        generation=4,
        state="ready",
        launch="0" * 32,
        wants="w",
        kind="engine",
        model="tiny",
        log=str(place.home.run / "server-0004.log"),
        starter=table.myself(),
        identity=identity,
    )
    record = replace(record, **more)  # type: ignore[arg-type]
    RecordFile(place.home).write(record)
    return record


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def identity_of(process: subprocess.Popen[bytes]) -> Identity:
    identity = table.identify(process.pid)
    assert identity is not None
    return identity


def test_down_without_a_record_does_nothing_and_writes_nothing(place: Place) -> None:
    assert place.down() is None
    assert not place.home.root.exists()


def test_down_says_what_it_stopped_and_waits_until_it_is_gone(place: Place, fake: Fake) -> None:
    endpoint = place.ensure(fake())
    running = place.running()
    stopped = place.down()
    assert isinstance(stopped, Stopped)
    assert (stopped.base_url, stopped.model, stopped.forced) == (endpoint.base_url, "tiny", False)
    assert running
    assert not any(table.alive(process) for process in running)
    assert place.down() is None


def test_a_server_that_ignores_the_polite_signal_is_killed(place: Place, fake: Fake) -> None:
    place.ensure(fake("stubborn"))
    stopped = place.down(grace_s=0.3)
    assert isinstance(stopped, Stopped)
    assert stopped.forced
    assert place.running() == []


def test_a_grandchild_that_left_the_session_is_stopped_too(place: Place, fake: Fake) -> None:
    place.ensure(fake("forks"))
    running = place.running()
    assert len(running) == 2
    place.down()
    assert not any(table.alive(process) for process in running)


def test_a_grandchild_whose_server_died_is_stopped_before_the_next_start(place: Place, fake: Fake) -> None:
    place.ensure(fake("forks"))
    before = place.running()
    leader = place.record().identity
    assert leader is not None
    table.send(leader, signal.SIGKILL)
    place.ensure(fake("forks"))
    assert not any(table.alive(process) for process in before)


def test_a_reused_pid_is_never_signalled(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    recorded(place, replace(identity_of(bystander), start=1))
    assert place.down() is None
    assert bystander.poll() is None
    assert RecordFile(place.home).read() is None


def test_our_own_pid_in_a_stale_record_is_stale(place: Place) -> None:
    recorded(place, replace(table.myself(), start=1))
    assert place.down() is None


def test_another_program_under_the_same_pid_is_never_signalled(
    place: Place, bystander: subprocess.Popen[bytes]
) -> None:
    recorded(place, replace(identity_of(bystander), exe="1:1"))
    assert place.down() is None
    assert bystander.poll() is None


def test_a_record_of_an_earlier_boot_is_cleared(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    here = table.myself()
    earlier = replace(identity_of(bystander), boot="another")
    recorded(place, earlier, starter=replace(here, boot="another"))
    assert place.down() is None
    assert bystander.poll() is None
    assert RecordFile(place.home).read() is None


def test_a_record_of_another_container_is_left_alone(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    identity = identity_of(bystander)
    starter = replace(table.myself(), namespace=1)
    record = recorded(place, replace(identity, namespace=1), starter=starter)
    assert place.down() is None
    assert bystander.poll() is None
    assert RecordFile(place.home).read() == record
    assert "another container" in place.said[-1]


def test_a_foreign_server_on_the_recorded_port_is_not_touched(place: Place, fake: Fake) -> None:
    endpoint = place.ensure(fake())
    leader = place.record().identity
    assert leader is not None
    table.send(leader, signal.SIGKILL)
    assert table.gone([leader], within_s=5)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", int(endpoint.base_url.rsplit(":", 1)[1].removesuffix("/v1"))))
        squatter.listen()
        assert place.down() is None
        moved = place.ensure(fake())
        assert moved.base_url != endpoint.base_url
        assert squatter.fileno() != -1


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let the system refuse every byte that this process writes into a file."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_record_does_not_keep_a_server_alive(place: Place, fake: Fake) -> None:
    spec = fake()
    place.ensure(spec)
    with full_disk():
        assert place.down() is not None
        assert place.running() == []
        with pytest.raises(ServerError, match="Cannot write"):
            place.ensure(spec)
    assert place.running() == []
    assert place.record().state == "ready"


def test_a_damaged_record_stops_everything_with_a_sentence(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    path = RecordFile(place.home).path
    whole = path.read_text()
    for damage in ("", "[]", "{", json.dumps({**json.loads(whole), "identity": {"pid": -1}})):
        path.write_text(damage)
        for command in (place.down, lambda: place.ensure(fake())):
            with pytest.raises(ServerError, match="damaged") as caught:
                command()
            assert "remove that file" in str(caught.value)
    path.write_text(whole)


def test_an_answer_in_progress_may_end_first(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    busy = threading.Event()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        RecordFile(place.home).write(replace(place.record(), base_url=url))

        def answer() -> None:
            for body in (b'[{"is_processing": true}]', b'[{"is_processing": false}]'):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            busy.set()

        speaker = threading.Thread(target=answer, daemon=True)
        speaker.start()
        place.down(drain_s=5)
        speaker.join(5)
    assert busy.is_set()
    assert any("answer in progress" in line for line in place.said)


@pytest.mark.parametrize("pid", [-1, 0, 1, True, "2", None])
def test_pids_that_mean_everybody_are_refused(pid: object) -> None:
    me = table.myself()
    with pytest.raises(ValueError, match="not the pid"):
        replace(me, pid=pid)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not the pid"):
        table.identify(pid)  # type: ignore[arg-type]


def test_a_zombie_is_not_alive() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert table.wait_until(lambda: table.identify(child) is None, within_s=5)
    os.waitpid(child, 0)
