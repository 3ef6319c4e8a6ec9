from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from concierge.config.keys import Llm
from concierge.server.processes import table
from concierge.server.status import ServerStatus, status

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


def test_the_configured_server_is_looked_at_beside_ours(place: Place) -> None:
    beside = status(place.home, Llm(base_url="http://127.0.0.1:1/v1"), environ=place.environ).configured
    assert beside is not None
    assert beside.presence == "refused"
    abroad = status(place.home, Llm(base_url="https://example.org/v1"), environ=place.environ).configured
    assert abroad is not None
    assert abroad.presence is None


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
