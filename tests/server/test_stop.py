from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge import mutex
from concierge.errors import ServerError
from concierge.server.processes import table
from concierge.server.record import Folder
from concierge.server.stop import Stopped
from tests.server.conftest import identity_of, recorded
from tests.server.peer import peer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.server.conftest import Fake, Place
    from tests.server.peer import Said


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
    assert place.clear()


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
    recorded(place, replace(identity_of(bystander), boot="another"))
    assert place.down() is None
    assert bystander.poll() is None
    assert place.clear()


def test_a_server_of_another_container_is_left_alone(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    record = recorded(place, replace(identity_of(bystander), namespace="another"))
    with mutex.held_file(Folder(place.home, record.launch).alive):
        assert place.down() is None
        assert bystander.poll() is None
        assert place.record() == record
    assert "another container" in place.said[-1]


def test_a_record_that_another_machine_made_is_not_ours_to_clear(place: Place) -> None:
    record = recorded(place, replace(table.myself(), boot="another"), machine="another")
    assert place.down() is None
    assert place.record() == record


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
    assert place.clear()


@pytest.mark.parametrize("damage", ["", "[]", "{", "null", '{"schema": 2}'])
def test_a_damaged_record_hides_no_server(place: Place, fake: Fake, damage: str) -> None:
    endpoint = place.ensure(fake())
    Folder(place.home, place.record().launch).file.write_text(damage)
    assert place.ensure(fake()).base_url == endpoint.base_url
    Folder(place.home, place.record().launch).file.write_text(damage)
    assert isinstance(place.down(), Stopped)
    assert place.running() == []


BUSY: Said = (200, b'[{"is_processing": false}, {"is_processing": true}]')
IDLE: Said = (200, b'[{"is_processing":false}]')


def test_an_answer_in_progress_may_end_first(place: Place, launched: subprocess.Popen[bytes]) -> None:
    with peer(lambda *_: [BUSY, BUSY, IDLE]) as server:
        recorded(place, identity_of(launched), base_url=server.base_url, api_key="key")
        assert place.down(drain_s=60) is not None
    assert server.seen == [("GET /slots", "Bearer key")] * 3
    assert place.said == ["Waiting up to 60 s for the answer in progress."]


def test_an_answer_that_does_not_end_is_not_waited_for_for_ever(
    place: Place, launched: subprocess.Popen[bytes]
) -> None:
    with peer(lambda *_: BUSY) as server:
        recorded(place, identity_of(launched), base_url=server.base_url)
        assert place.down(drain_s=0.3) is not None
    assert 1 < len(server.seen) < 10
    assert place.said == ["Waiting up to 0.3 s for the answer in progress."]


def test_a_server_that_is_too_busy_to_say_so_is_busy(place: Place, launched: subprocess.Popen[bytes]) -> None:
    with peer(lambda *_: [(200, None), IDLE]) as server:
        recorded(place, identity_of(launched), base_url=server.base_url)
        assert place.down(drain_s=60) is not None
    assert len(server.seen) == 2
    assert place.said


def test_a_server_that_takes_the_connection_and_says_nothing_is_busy(
    place: Place, launched: subprocess.Popen[bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        recorded(place, identity_of(launched), base_url=f"http://127.0.0.1:{mute.getsockname()[1]}/v1")
        assert place.down(drain_s=1.5) is not None
    assert place.said == ["Waiting up to 1.5 s for the answer in progress."]


def test_an_idle_server_is_not_waited_for(place: Place, launched: subprocess.Popen[bytes]) -> None:
    with peer(lambda *_: IDLE) as server:
        recorded(place, identity_of(launched), base_url=server.base_url)
        assert place.down(drain_s=60) is not None
    assert (len(server.seen), place.said) == (1, [])


def test_a_server_that_does_not_listen_is_not_waited_for(place: Place, launched: subprocess.Popen[bytes]) -> None:
    recorded(place, identity_of(launched), base_url="http://127.0.0.1:1/v1")
    assert place.down(drain_s=60) is not None
    assert place.said == []


def test_the_users_own_server_is_not_asked_what_it_does(place: Place, launched: subprocess.Popen[bytes]) -> None:
    with peer(lambda *_: BUSY) as server:
        recorded(place, identity_of(launched), base_url=server.base_url, kind="command")
        assert place.down(drain_s=60) is not None
    assert server.seen == []


def test_a_suspended_server_is_woken_and_ends_politely(place: Place, launched: subprocess.Popen[bytes]) -> None:
    identity = identity_of(launched)
    os.kill(launched.pid, signal.SIGSTOP)
    recorded(place, identity)
    stopped = place.down(grace_s=20)
    assert isinstance(stopped, Stopped)
    assert (stopped.pid, stopped.forced, stopped.base_url) == (launched.pid, False, None)
    assert launched.wait(5) == -signal.SIGTERM
    assert stopped.seconds < 20


def test_while_it_stops_the_record_says_so(place: Place, fake: Fake) -> None:
    place.ensure(fake("stubborn"))
    stopping = threading.Thread(target=place.down, kwargs={"grace_s": 60.0})
    stopping.start()
    assert table.wait_until(lambda: place.record().state == "stopping", within_s=10)
    leader = place.record().identity
    assert leader is not None
    assert table.alive(leader)
    table.send(leader, signal.SIGKILL)
    stopping.join(10)
    assert place.clear()


@pytest.mark.parametrize("pid", [-1, 0, 1, os.getpid()])
def test_pids_that_mean_everybody_or_ourselves_are_never_signalled(pid: int) -> None:
    assert not table.send(replace(table.myself(), pid=pid), signal.SIGKILL)


def test_a_zombie_is_not_alive() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert table.wait_until(lambda: table.identify(child) is None, within_s=5)
    os.waitpid(child, 0)
