from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.errors import StartError
from concierge.net import near
from concierge.server.processes import table
from concierge.server.status import status

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec
    from tests.server.conftest import Place

pytestmark = pytest.mark.real


def test_the_real_engine_answers_only_to_its_key_with_the_context_that_was_asked_for(
    place: Place, real_spec: ServerSpec
) -> None:
    endpoint = place.ensure(real_spec)
    assert endpoint.context == real_spec.context
    question = {"model": endpoint.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    answer = near.ask(endpoint, "/chat/completions", question, timeout=30)
    assert isinstance(answer, near.Answer)
    assert answer.status == 200
    stranger = near.ask(replace(endpoint, api_key="wrong"), "/chat/completions", question, timeout=30)
    assert isinstance(stranger, near.Answer)
    assert stranger.status == 401


def test_the_real_engine_is_adopted_by_the_next_command_and_gone_after_down(
    place: Place, real_spec: ServerSpec
) -> None:
    endpoint = place.ensure(real_spec)
    assert place.ensure(real_spec) == endpoint
    seen = status(place.home, environ=place.environ)
    assert (seen.state, seen.answers, seen.base_url) == ("ready", True, endpoint.base_url)
    assert place.down() is not None
    assert place.running() == []
    assert near.ask(endpoint, "/models") == "refused"


def test_two_commands_at_once_start_one_real_engine(place: Place, real_spec: ServerSpec) -> None:
    # The helper hands over no parameters, so both ask for the same plain server.
    both = [place.start(replace(real_spec, parameters=())) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert len({line for text in outputs for line in text.splitlines() if line.startswith("endpoint")}) == 1
    assert len(place.running()) == 1


def test_a_model_that_the_engine_cannot_load_is_said_with_its_log(
    place: Place, real_spec: ServerSpec, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF but no more")
    with pytest.raises(StartError, match="failed to load model"):
        place.ensure(replace(real_spec, model_path=broken))
    assert place.running() == []


def test_the_real_engine_leaves_its_read_only_store_as_it_was(place: Place, real_spec: ServerSpec) -> None:
    before = sorted(path for path in real_spec.engine_root.rglob("*"))
    place.ensure(real_spec)
    assert sorted(path for path in real_spec.engine_root.rglob("*")) == before


def test_web_pages_of_other_origins_are_told_nothing(place: Place, real_spec: ServerSpec) -> None:
    endpoint = place.ensure(real_spec)
    script = (
        "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=5);"
        "c.request('GET', '/health', headers={'Origin': 'https://example.org'});"
        "print(repr(c.getresponse().headers.get('Access-Control-Allow-Origin')))"
    )
    shown = subprocess.run(
        [sys.executable, "-IS", "-c", script, str(endpoint.address.port)], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() in ("''", "None")


def test_the_real_engine_listens_on_loopback_only(place: Place, real_spec: ServerSpec) -> None:
    place.ensure(real_spec)
    assert {listener.host for listener in table.listening(place.running())} == {"127.0.0.1"}
