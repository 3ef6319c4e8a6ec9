from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from concierge.endpoint import Endpoint
from concierge.errors import ServerError, StartError
from concierge.net import near
from concierge.server.processes import table
from concierge.server.record import KEPT, Folder
from tests.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Fake, Place

MOMENTS = [f"{when} {state}" for state in ("intent", "starting", "ready") for when in ("before", "after")]
"""Every moment at which what is on disk changes: a launch is announced, it has a process, it is proven."""


def answers(url: str) -> bool:
    answer = near.ask(Endpoint(url, "m").root, "/health")
    return not isinstance(answer, str) and answer.status == 200


def test_an_engine_is_started_proved_and_described_by_itself(place: Place, fake: Fake) -> None:
    endpoint = place.ensure(fake(context=777))
    assert answers(endpoint.base_url)
    assert (endpoint.model, endpoint.context, endpoint.owned, endpoint.dialect) == ("tiny", 777, True, "llama-server")
    assert place.record().state == "ready"
    assert place.record().base_url == endpoint.base_url


def test_a_running_engine_is_adopted_and_not_started_again(place: Place, fake: Fake) -> None:
    first = place.ensure(fake())
    identity = place.record().identity
    assert place.ensure(fake()) == first
    assert place.record().identity == identity
    assert len(place.logs()) == 1


def test_the_key_is_in_no_command_line_and_no_file_that_others_can_read(place: Place, fake: Fake) -> None:
    endpoint = place.ensure(fake())
    assert endpoint.api_key
    identity = place.record().identity
    assert identity is not None
    words = psutil.Process(identity.pid).cmdline()
    assert "--alias" in words
    assert not any(endpoint.api_key in word for word in words)
    assert {file.stat().st_mode & 0o077 for file in place.home.run.rglob("*")} == {0}
    assert place.home.run.stat().st_mode & 0o077 == 0
    assert endpoint.api_key not in repr(place.record())


def test_a_child_that_dies_at_once_is_reported_at_once_with_the_end_of_its_log(place: Place, fake: Fake) -> None:
    with pytest.raises(StartError, match="ended while it was starting, with exit code 3") as caught:
        place.ensure(fake("dies"), local_llm_start_timeout_s=600.0)
    assert "cannot load, my key is ***" in caught.value.what
    assert place.clear()


def test_a_program_that_is_not_there_is_named(place: Place, fake: Fake) -> None:
    spec = fake()
    (spec.engine_root / "llama-server").unlink()
    with pytest.raises(StartError, match="llama-server"):
        place.ensure(spec)


def test_a_child_that_never_listens_is_given_up_when_it_does_not_work_either(place: Place, fake: Fake) -> None:
    with pytest.raises(StartError, match=r"no progress for 0\.5 s"):
        place.ensure(fake("deaf"), local_llm_start_timeout_s=0.5)
    assert place.running() == []
    assert place.clear()


def test_a_server_that_says_loading_for_ever_stalls_too(place: Place, fake: Fake, tmp_path: Path) -> None:
    spec = fake(ready_when=str(tmp_path / "never"))
    with pytest.raises(StartError, match="no progress"):
        place.ensure(spec, local_llm_start_timeout_s=1.0)
    assert place.running() == []


@pytest.mark.parametrize(("fault", "why"), [("open", "a wrong key"), ("mute", "does not generate")])
def test_a_server_that_fails_its_proof_is_stopped(place: Place, fake: Fake, fault: str, why: str) -> None:
    with pytest.raises(StartError, match=why):
        place.ensure(fake(fault))
    assert place.running() == []


def test_a_server_that_is_killed_in_its_proof_is_reported_as_that(place: Place, fake: Fake) -> None:
    with pytest.raises(StartError, match="ended while it was starting, by SIGKILL") as caught:
        place.ensure(fake("killed"))
    assert "out of memory" in str(caught.value)
    assert place.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only its parent learns how a process ended")
def test_whoever_waits_with_the_starter_is_told_as_much(place: Place, fake: Fake, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    spec = fake("killed", ready_when=str(gate))
    starter = place.start(spec)
    until(place.starting)
    failures: list[str] = []

    def wait() -> None:
        try:
            place.ensure(spec)
        except StartError as error:
            failures.append(error.what)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: place.users() == 2)
    gate.touch()
    waiting.join(30)
    starter.communicate(timeout=30)
    assert "by SIGKILL" in failures[0]
    assert place.running() == []


def test_a_second_command_waits_for_the_server_that_is_still_loading(place: Place, fake: Fake, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    spec = fake(ready_when=str(gate))
    first = place.start(spec)
    until(place.starting)
    waiting = threading.Thread(target=place.ensure, args=(spec,))
    waiting.start()
    until(lambda: place.users() == 2)
    gate.touch()
    waiting.join(10)
    output, _ = first.communicate(timeout=10)
    assert f"endpoint {place.record().base_url}" in output
    assert len(place.logs()) == 1


def test_a_server_that_ends_while_two_wait_is_a_failure_for_both(place: Place, fake: Fake, tmp_path: Path) -> None:
    spec = fake(ready_when=str(tmp_path / "never"))
    starter = place.start(spec)
    until(place.starting)
    failures: list[str] = []

    def wait() -> None:
        try:
            place.ensure(spec)
        except StartError as error:
            failures.append(error.what)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: place.users() == 2)
    [server] = place.running()
    assert table.send(server, signal.SIGKILL)
    waiting.join(20)
    assert "endpoint" not in starter.communicate(timeout=20)[0]
    assert starter.returncode != 0
    [why] = failures
    assert "ended while it was starting" in why or "stopped by another command" in why


def test_another_wish_replaces_the_server(place: Place, fake: Fake) -> None:
    old = place.ensure(fake(context=512))
    before = place.record()
    new = place.ensure(fake(context=1024))
    assert new.context == 1024
    assert not answers(old.base_url)
    assert table.members(before.launch) == []
    assert place.record().launch != before.launch


def test_a_server_that_was_killed_is_replaced(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    identity = place.record().identity
    assert identity is not None
    assert table.send(identity, signal.SIGKILL)
    assert answers(place.ensure(fake()).base_url)


def test_a_server_that_hangs_is_replaced(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    identity = place.record().identity
    assert identity is not None
    assert table.send(identity, signal.SIGSTOP)
    second = place.ensure(fake(), local_llm_start_timeout_s=0.5)
    assert answers(second.base_url)
    assert not table.alive(identity)
    assert any("starting a new one" in line for line in place.said)


def test_a_program_that_replaces_itself_is_still_the_same_server(place: Place, fake: Fake) -> None:
    spec = fake()
    program = spec.engine_root / "llama-server"
    program.rename(spec.engine_root / "inner")
    program.write_text(f'#!/bin/sh\nexec {spec.engine_root}/inner "$@"\n')
    program.chmod(0o755)
    place.ensure(spec)
    recorded = place.record().identity
    place.ensure(spec)
    assert place.record().identity == recorded
    assert place.down() is not None
    assert place.running() == []


def test_two_commands_at_once_start_one_server(place: Place, fake: Fake) -> None:
    spec = fake()
    both = [place.start(spec), place.start(spec)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    endpoints = {line for output in outputs for line in output.splitlines() if line.startswith("endpoint")}
    assert len(endpoints) == 1
    assert sum(output.count("say Starting") for output in outputs) == 1
    assert len(place.running()) == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_command_has_one_server_after_the_starter_was_killed(place: Place, fake: Fake, moment: str) -> None:
    spec = fake()
    starter = place.start(spec, at=(moment, signal.SIGKILL))
    starter.communicate(timeout=60)
    assert starter.returncode == -signal.SIGKILL
    left = place.running()
    assert len(left) == (0 if moment.endswith("intent") else 1)
    assert answers(place.ensure(spec).base_url)
    assert place.running() == (left or place.running())
    assert len(place.running()) == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_down_leaves_nothing_after_the_starter_was_killed(place: Place, fake: Fake, moment: str) -> None:
    starter = place.start(fake(), at=(moment, signal.SIGKILL))
    starter.communicate(timeout=60)
    assert starter.returncode == -signal.SIGKILL
    place.down()
    assert place.running() == []
    assert place.clear()


@pytest.mark.parametrize("moment", MOMENTS[:-1])
def test_ctrl_c_during_the_start_leaves_nothing(place: Place, fake: Fake, moment: str) -> None:
    starter = place.start(fake(), at=(moment, signal.SIGINT))
    starter.communicate(timeout=60)
    assert starter.returncode != 0
    assert place.running() == []
    assert place.clear()


def test_ctrl_c_while_the_server_loads_stops_it(place: Place, fake: Fake, tmp_path: Path) -> None:
    starter = place.start(fake(ready_when=str(tmp_path / "never")))
    until(place.starting)
    launched = place.running()
    os.kill(starter.pid, signal.SIGINT)
    starter.communicate(timeout=60)
    assert launched
    assert not any(table.alive(process) for process in launched)
    assert place.clear()


def test_whoever_is_impatient_with_the_cleaning_up_does_not_cut_it_short(
    place: Place, fake: Fake, tmp_path: Path
) -> None:
    starter = place.start(fake("stubborn", ready_when=str(tmp_path / "never")))
    until(place.starting)
    until(lambda: "stubborn" in place.logs()[0].read_text())
    [server] = place.running()
    os.kill(starter.pid, signal.SIGINT)
    until(lambda: place.record().state == "stopping")
    os.kill(starter.pid, signal.SIGINT)
    assert table.alive(server)
    table.send(server, signal.SIGKILL)
    starter.communicate(timeout=60)
    assert place.running() == []
    assert place.clear()


def test_ctrl_c_leaves_a_server_that_somebody_else_waits_for(place: Place, fake: Fake, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    spec = fake(ready_when=str(gate))
    first = place.start(spec)
    until(place.starting)
    second = place.start(spec)
    until(lambda: place.users() == 2)
    os.kill(first.pid, signal.SIGINT)
    first.communicate(timeout=60)
    gate.touch()
    output, _ = second.communicate(timeout=60)
    assert "endpoint" in output
    assert len(place.running()) == 1


def test_the_last_one_who_waits_stops_the_server_when_interrupted(place: Place, fake: Fake, tmp_path: Path) -> None:
    spec = fake(ready_when=str(tmp_path / "never"))
    first = place.start(spec)
    until(place.starting)
    second = place.start(spec)
    until(lambda: place.users() == 2)
    for starter in (first, second):
        os.kill(starter.pid, signal.SIGINT)
    for starter in (first, second):
        starter.communicate(timeout=60)
    assert place.running() == []
    assert place.clear()


def test_down_during_a_start_ends_it_and_the_starter_says_so(place: Place, fake: Fake, tmp_path: Path) -> None:
    spec = fake(ready_when=str(tmp_path / "never"))
    failures: list[str] = []

    def starter() -> None:
        try:
            place.ensure(spec)
        except StartError as error:
            failures.append(error.what)

    starting = threading.Thread(target=starter)
    starting.start()
    until(place.starting)
    assert place.down() is not None
    starting.join(10)
    assert failures
    assert "by another command" in failures[0]


def test_a_stop_that_was_killed_half_way_is_finished(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    before = place.record()
    Folder(place.home, before.launch).write(replace(before, state="stopping"))
    place.ensure(fake())
    assert table.members(before.launch) == []
    assert place.record().state == "ready"


def test_five_logs_are_kept(place: Place, fake: Fake) -> None:
    for _ in range(7):
        with pytest.raises(StartError):
            place.ensure(fake("dies"))
    assert len(place.logs()) == KEPT


def test_a_home_that_cannot_be_written_is_a_sentence(place: Place, fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ServerError, match="Cannot write") as caught:
        place.ensure(fake())
    assert caught.value.hint
    (tmp_path / "home").unlink()
