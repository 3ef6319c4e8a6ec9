"""Who uses a server, and what nobody does to it meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from concierge.endpoint import Endpoint
from concierge.errors import InterruptedByUser, ServerError, StartError
from concierge.server import leases
from concierge.server.leases import Lease
from concierge.server.processes import table
from concierge.server.record import Folder
from concierge.server.status import status
from tests.server.conftest import identity_of, recorded
from tests.server.peer import peer
from tests.server.test_stop import BUSY, IDLE
from tests.server.test_supervisor import answers
from tests.wait import in_time, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Fake, Place

HOLDER = """
import sys
from pathlib import Path
from concierge.paths import Home
from concierge.server import launches
from concierge.server.leases import Lease
home = Home(Path(sys.argv[1]))
sys.argv = ["concierge", "run"]
lease = Lease(home)
lease.take(launches.here(home)[0].record)
print("held", flush=True)
input()
"""


def hold(place: Place) -> subprocess.Popen[str]:
    """Hold a lease of the newest launch in a process of its own."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place.home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


@pytest.fixture
def used(place: Place, fake: Fake) -> Any:
    """A server that another process uses."""
    endpoint = place.ensure(fake())
    with hold(place) as holder:
        yield endpoint, holder
        holder.kill()


def test_a_lease_is_held_until_it_is_released(place: Place, fake: Fake) -> None:
    with Lease(place.home) as lease:
        place.ensure(fake(), lease=lease)
        assert leases.holders(place.home, place.record()) != []
        assert not leases.may_go(place.home, place.record())
    assert leases.holders(place.home, place.record()) == []
    assert leases.may_go(place.home, place.record())
    assert place.users() == 0


def test_without_a_lease_nobody_uses_the_server_once_it_is_ready(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    assert place.users() == 0


def test_a_lease_ends_with_its_holder_however_that_ends(place: Place, used: Any) -> None:
    _, holder = used
    assert status(place.home).users == tuple(leases.holders(place.home, place.record()))
    assert leases.holders(place.home, place.record())[0].startswith(f"process {holder.pid} (concierge run)")
    holder.kill()
    holder.wait(10)
    assert place.users() == 1
    assert leases.may_go(place.home, place.record())
    assert place.users() == 0


def test_whoever_holds_several_leases_is_named_once(place: Place, fake: Fake) -> None:
    with Lease(place.home) as one, Lease(place.home) as other:
        endpoint = place.ensure(fake(), lease=one)
        other.join(endpoint)
        assert place.users() == 2
        assert len(leases.holders(place.home, place.record())) == 1


def test_another_wish_waits_until_nobody_uses_the_server(place: Place, fake: Fake, used: Any) -> None:
    endpoint, holder = used
    made: list[Any] = []
    waiting = threading.Thread(target=lambda: made.append(place.ensure(fake(context=1024))))
    waiting.start()
    until(lambda: any(f"process {holder.pid} (concierge run)" in line for line in place.said))
    assert answers(endpoint.base_url)
    holder.kill()
    waiting.join(30)
    assert made[0].context == 1024
    assert not answers(endpoint.base_url)
    assert len(place.running()) == 1


def test_an_answer_in_progress_that_holds_no_lease_is_not_cut_for_another_wish(
    place: Place, fake: Fake, launched: subprocess.Popen[bytes]
) -> None:
    with peer(lambda *_: [BUSY, BUSY, BUSY, IDLE]) as server:
        recorded(place, identity_of(launched), base_url=server.base_url)
        with pytest.raises(ServerError, match="in use: an answer in progress uses the server of tiny"):
            place.ensure(fake(), local_llm_start_timeout_s=0.01)
        assert launched.poll() is None
        place.ensure(fake())
    assert launched.wait(10) == -signal.SIGTERM
    assert server.asked.count("GET /slots") >= 4


def test_another_wish_that_has_waited_long_enough_names_who_uses_the_server(
    place: Place, fake: Fake, used: Any
) -> None:
    endpoint, holder = used
    with pytest.raises(ServerError, match=rf"in use: process {holder.pid} \(concierge run\)") as caught:
        place.ensure(fake(context=1024), local_llm_start_timeout_s=0.3)
    assert (caught.value.exit_code, answers(endpoint.base_url)) == (5, True)
    assert "concierge down" in str(caught.value)


def test_another_wish_starts_beside_where_there_is_room(place: Place, fake: Fake, used: Any) -> None:
    endpoint, _ = used
    beside = place.ensure(fake(context=1024), room=lambda: True)
    assert answers(endpoint.base_url)
    assert answers(beside.base_url)
    assert len(place.running()) == 2
    seen = status(place.home)
    assert (seen.base_url, seen.users) == (beside.base_url, ())
    assert [(other.base_url, other.context) for other in seen.others] == [(endpoint.base_url, 512)]
    assert place.ensure(fake()) == endpoint  # Each wish finds its own.
    assert place.ensure(fake(context=1024)) == beside
    place.down()
    assert place.running() == []


def test_the_next_start_ends_whatever_nobody_uses_any_more(place: Place, fake: Fake, used: Any) -> None:
    _, holder = used
    place.ensure(fake(context=1024), room=lambda: True)
    holder.kill()
    holder.wait(10)
    place.ensure(fake(context=2048))
    assert len(place.running()) == 1


def test_down_stops_a_server_in_use_and_says_who_is_cut_off(place: Place, used: Any) -> None:
    _, holder = used
    assert place.down() is not None
    assert place.running() == []
    assert any(line.startswith(f"Cut off: process {holder.pid} (concierge run)") for line in place.said)


def test_a_server_that_is_stuck_and_in_use_is_left_alone(place: Place, fake: Fake, used: Any) -> None:
    _, holder = used
    [server] = place.running()
    table.send(server, signal.SIGSTOP)
    with pytest.raises(StartError, match="no progress") as caught:
        place.ensure(fake(), local_llm_start_timeout_s=0.5)
    assert f"left alone for process {holder.pid}" in str(caught.value)
    assert place.running() == [server]


@pytest.mark.parametrize(
    "command", [["/no/such/server"], ["no-such-server"], [str(__file__)]], ids=["path", "name", "not-executable"]
)
def test_a_successor_that_cannot_start_leaves_the_old_server_alone(
    place: Place, fake: Fake, command: list[str]
) -> None:
    endpoint = place.ensure(fake())
    with pytest.raises(StartError, match="Cannot start"):
        place.ensure(fake(context=1024), base_url="http://127.0.0.1:2/v1", local_llm_start_cmd=tuple(command))
    assert answers(endpoint.base_url)


def test_an_engine_that_does_not_run_here_leaves_the_old_server_alone(place: Place, fake: Fake) -> None:
    endpoint, spec = place.ensure(fake()), fake(context=1024)
    (spec.engine_root / "llama-server").write_text("#!/bin/sh\nexit 127\n")
    with pytest.raises(StartError, match="--help ended with 127"):
        place.ensure(spec)
    assert answers(endpoint.base_url)


def test_an_impatient_joiner_leaves_and_ends_nothing(place: Place, fake: Fake, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    spec = fake(ready_when=str(gate))
    starter = place.start(spec)
    until(place.starting)
    with pytest.raises(StartError, match=r"no progress for 0\.3 s") as caught:
        place.ensure(spec, local_llm_start_timeout_s=0.3)
    assert f"left alone for process {starter.pid}" in str(caught.value)
    gate.touch()
    assert "endpoint" in starter.communicate(timeout=60)[0]
    assert len(place.running()) == 1


def test_a_start_that_nobody_wants_any_more_is_ended_from_another_thread(
    place: Place, fake: Fake, tmp_path: Path
) -> None:
    lease = Lease(place.home)
    spec = fake(ready_when=str(tmp_path / "never"))
    outcome: list[BaseException] = []

    def start() -> None:
        try:
            place.ensure(spec, lease=lease)
        except InterruptedByUser as error:
            outcome.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    until(place.starting)
    lease.cancelled.set()
    starting.join(30)
    assert len(outcome) == 1
    assert place.running() == []
    assert place.clear()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_server_that_dies_in_use_is_asked_how(place: Place, fake: Fake, number: signal.Signals) -> None:
    with Lease(place.home) as lease:
        place.ensure(fake(), lease=lease)
        assert lease.died() is None
        [server] = place.running()
        table.send(server, number)
        died = in_time(lease.died)
    assert died is not None
    assert f"ended while it was in use, by {number.name}" in died.what
    assert died.exit_code == 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only its parent learns how a process ended")
def test_a_server_that_somebody_else_started_is_asked_how_it_died(place: Place, fake: Fake) -> None:
    starter = place.start(fake())
    assert "endpoint" in starter.communicate(timeout=60)[0]
    with Lease(place.home) as lease:
        endpoint = place.ensure(fake(), lease=lease)
        with Lease(place.home) as client:
            client.join(endpoint)
            [server] = place.running()
            table.send(server, signal.SIGKILL)
            died = in_time(client.died)
    assert died is not None
    assert "by SIGKILL" in died.what


def test_a_server_that_was_stopped_in_use_is_not_called_dead(place: Place, fake: Fake) -> None:
    with Lease(place.home) as lease:
        place.ensure(fake(), lease=lease)
        place.down()
        died = lease.died()
    assert died is not None
    assert "was stopped by another command" in died.what


def test_somebody_elses_server_has_no_lease(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    with Lease(place.home) as lease:
        lease.join(Endpoint("http://127.0.0.1:1/v1", "m"))
        assert lease.record is None
        assert lease.died() is None
    assert Folder(place.home, place.record().launch).leases() == []
