from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge import mutex
from concierge.config.keys import Llm
from concierge.server.processes import table
from concierge.server.record import Folder
from concierge.server.status import Configured, ServerStatus, status
from tests.server.conftest import identity_of, recorded
from tests.server.peer import peer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Fake, Place


def test_nothing_is_said_of_an_untouched_home_and_nothing_is_written(place: Place) -> None:
    assert status(place.home) == ServerStatus("absent")
    assert not place.home.root.exists()


def test_a_ready_server_is_described_without_its_key(place: Place, fake: Fake) -> None:
    endpoint = place.ensure(fake())
    seen = status(place.home)
    assert (seen.state, seen.answers, seen.model, seen.base_url) == ("ready", True, "tiny", endpoint.base_url)
    assert seen.context == 512
    assert seen.uptime_s is not None
    assert endpoint.api_key is not None
    assert endpoint.api_key not in json.dumps(seen.as_dict())


def test_a_server_that_starts_is_found_while_it_loads(place: Place, fake: Fake, tmp_path: Path) -> None:
    starter = place.start(fake(ready_when=str(tmp_path / "gate")))
    assert table.wait_until(lambda: status(place.home).state == "starting", within_s=10)
    assert status(place.home).answers is False
    (tmp_path / "gate").touch()
    starter.communicate(timeout=20)
    assert status(place.home).state == "ready"


def test_a_server_that_died_is_dead(place: Place, fake: Fake) -> None:
    place.ensure(fake())
    leader = place.record().identity
    assert leader is not None
    table.send(leader, signal.SIGKILL)
    assert table.gone([leader], within_s=5)
    assert status(place.home).state == "dead"


@pytest.mark.parametrize(
    ("written", "told"),
    [("intent", "starting"), ("starting", "starting"), ("ready", "stuck"), ("stopping", "stopping")],
)
def test_the_state_is_the_records_while_its_process_lives(
    place: Place, bystander: subprocess.Popen[bytes], written: str, told: str
) -> None:
    record = recorded(place, identity_of(bystander), state=written, context=7)
    seen = status(place.home)
    assert (seen.state, seen.pid, seen.model, seen.context) == (told, bystander.pid, "tiny", 7)
    assert (seen.log, seen.base_url, seen.answers) == (record.log, None, False)
    assert seen.uptime_s is not None
    assert 0 <= seen.uptime_s < 60


def test_a_process_that_is_gone_has_neither_address_nor_age(place: Place) -> None:
    record = recorded(place, replace(table.myself(), start=1), base_url="http://127.0.0.1:1/v1")
    assert status(place.home) == ServerStatus("dead", model="tiny", log=record.log)


def test_a_server_of_another_container_is_elsewhere_and_not_judged(place: Place) -> None:
    record = recorded(place, replace(table.myself(), namespace="another"))
    with mutex.held_file(Folder(place.home, record.launch).alive):
        assert status(place.home) == ServerStatus("elsewhere", model="tiny", log=record.log)
    assert status(place.home).state == "dead"


@pytest.mark.parametrize(
    ("said", "answers"), [(200, True), (401, True), (403, True), (404, False), (500, False), (503, False)]
)
@pytest.mark.parametrize(("kind", "page"), [("engine", "GET /health"), ("command", "GET /v1/models")])
def test_a_server_answers_when_it_says_that_it_is_well_or_wants_a_key(
    place: Place, bystander: subprocess.Popen[bytes], kind: str, page: str, said: int, answers: bool
) -> None:
    with peer(lambda *_: (said, {})) as server:
        recorded(place, identity_of(bystander), kind=kind, base_url=server.base_url)
        assert status(place.home).answers is answers
    assert server.asked == [page]


def test_a_server_that_says_nothing_does_not_answer(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    with peer(lambda *_: (200, None)) as server:
        recorded(place, identity_of(bystander), base_url=server.base_url)
        assert status(place.home).answers is False


def test_the_configured_server_is_looked_at_beside_ours(place: Place, bystander: subprocess.Popen[bytes]) -> None:
    place.environ["SECRET"] = "key"
    with peer(lambda *_: (200, {"data": [{"id": "a"}, {"id": "b"}]})) as server:
        llm = Llm(base_url=server.base_url, api_key_env="SECRET")
        alone = status(place.home, llm, environ=place.environ)
        recorded(place, identity_of(bystander))
        beside = status(place.home, llm, environ=place.environ)
        recorded(place, replace(table.myself(), start=1))
        dead = status(place.home, llm, environ=place.environ)
    told = Configured(server.base_url, "listed", ("a", "b"))
    assert (alone.configured, beside.configured, dead.configured) == (told, told, told)
    assert (alone.state, beside.state, dead.state) == ("absent", "stuck", "dead")
    assert server.asked == ["GET /openapi.json", "GET /v1/models"] * 3
    assert {key for _, key in server.seen} == {"Bearer key"}
    assert alone.as_dict()["configured"] == {
        "base_url": server.base_url,
        "presence": "listed",
        "models": ("a", "b"),
        "serves": False,
    }


def test_another_machines_server_is_named_without_its_password_and_not_asked(place: Place) -> None:
    abroad = status(place.home, Llm(base_url="https://user:word@example.org/v1"), environ=place.environ).configured
    assert abroad == Configured("https://example.org/v1", None)


def test_status_imports_nothing_heavy() -> None:
    script = "import sys, concierge.server.status; print(*sorted(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"pydantic", "httpx", "psutil", "http.client", "subprocess", "asyncio", "ssl", "platformdirs"}
    assert heavy & set(shown.stdout.split()) == set()
