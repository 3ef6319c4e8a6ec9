"""This machine measured with the real engine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from concierge import River
from concierge.errors import ConfigError, ServerError
from tests.wait import until

if TYPE_CHECKING:
    from tests.river.place import Place

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="the C library is not asked there")]

MODEL = ("--model", "smollm2-135m")


def test_what_was_tuned_is_planned_with_served_with_and_nothing_is_left_running(place: Place) -> None:
    code, out, err = place("tune", *MODEL, "--seconds", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["reads_gb_s"] > 0
    assert found["before"]["written"] > 0
    assert found["after"] in found["tried"]
    assert not found["whole"]
    assert place.servers() == []
    planned = json.loads(place("plan", *MODEL, "--json")[1])
    assert (planned["estimate"]["source"], planned["estimate"]["likely"]) == ("measured", found["after"]["written"])
    assert sorted(map(tuple, planned["parameters"].items())) == sorted(map(tuple, found["after"]["parameters"]))
    assert place("up", *MODEL)[0] == 0
    assert json.loads(place("plan", *MODEL, "--json")[1])["would_change"] is False


def test_a_server_that_is_in_use_is_not_measured_and_not_disturbed(place: Place) -> None:
    with place.start("run", *MODEL, "Write a very long story about a king. Tell every detail.") as run:
        until(lambda: bool(json.loads(place("status", "--json")[1])["users"]))
        code, _, err = place("tune", *MODEL, "--seconds", "1")
        assert code == 5
        assert "is in use" in err
        assert run.poll() is None
        run.terminate()


def test_up_measures_a_new_server_once_unless_it_is_told_not_to(place: Place) -> None:
    place.environ["CONCIERGE_LLM_MEASURE"] = "false"
    assert "tokens a second" not in place("up", *MODEL)[2]
    place("down")
    del place.environ["CONCIERGE_LLM_MEASURE"]
    assert "It writes " in place("up", *MODEL)[2]
    assert json.loads(place("plan", *MODEL, "--json")[1])["estimate"]["source"] == "measured"
    place("down")
    assert "It writes " not in place("up", *MODEL)[2]


def test_a_program_tunes_and_brings_up_what_was_found(place: Place) -> None:
    said: list[str] = []
    settings = {"llm.model": "smollm2-135m"}
    river = River.open(place.root, settings, environ=place.environ, say=said.append)
    found = river.tune(seconds=30)
    assert found.before in found.tried
    assert found.after.tuned is False
    assert any("tokens/s written" in line for line in said)
    again = River.open(place.root, settings, environ=place.environ, say=said.append)
    assert again.machine.cpu.reads_gb_s == found.reads_gb_s
    planned = again.plan()
    assert planned.estimate is not None
    assert planned.estimate.source == "measured"
    endpoint = again.up()
    assert endpoint.context == planned.context
    with again.using(), pytest.raises(ServerError, match="is in use"):
        River.open(place.root, settings, environ=place.environ).tune(seconds=1)
    again.down(drain_s=0)
    named = {**settings, "llm.base_url": "http://127.0.0.1:9/v1"}
    with pytest.raises(ConfigError, match="a server of yours is configured"):
        River.open(place.root, named, environ=place.environ).tune()


def test_a_program_s_new_server_is_measured_once(place: Place) -> None:
    said: list[str] = []
    river = River.open(place.root, {"llm.model": "smollm2-135m"}, environ=place.environ, say=said.append)
    river.up()
    assert sum(line.startswith("It writes ") for line in said) == 1
    river.down(drain_s=0)
    River.open(place.root, {"llm.model": "smollm2-135m"}, environ=place.environ, say=said.append).up()
    assert sum(line.startswith("It writes ") for line in said) == 1


def test_a_server_of_somebody_else_is_not_ours_to_tune(place: Place) -> None:
    place.environ["CONCIERGE_LLM_BASE_URL"] = "http://127.0.0.1:9/v1"
    code, _, err = place("tune", *MODEL)
    assert code == 2
    assert "a server of yours is configured" in err
