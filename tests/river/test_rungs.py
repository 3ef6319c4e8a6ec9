"""A build that does not serve on this machine gives way to the next one, loudly, and what serves is what is current."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.river.rig import Rig, wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    build = wheel()
    if build is None:
        pytest.skip("the catalogue has no engine wheel for this system")
    made = Rig(tmp_path, build)
    yield made
    made(tmp_path, "down", "--drain", "0")
    assert made.servers() == []


FAULTS = {
    "illegal": "by SIGILL",
    "library": "ended while it was starting, with exit code 1",
    "nonsense": "it answers nonsense ('@@@@@@@@@@@@')",
    "short": "it gives a request 256 tokens of context, and 1024 are wanted",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_build_that_does_not_serve_here_gives_way_to_the_next(rig: Rig, fault: str) -> None:
    folder = rig.project("project", context=1024, faults=[fault])
    code, _, err = rig(folder, "up")
    assert code == 0, err
    assert f"llama-cpp 0.{fault} cpu ({fault}) does not serve here: " in err
    assert FAULTS[fault] in err
    current = rig.home.current.read_text().split()[0]
    (generation,) = (rig.home.generations / f"{current}.json",)
    document = json.loads(generation.read_text())
    assert f"0.{fault}" not in document["spec"]["build"]
    ((name, reason),) = document["failed"]
    assert f"0.{fault}" in name
    assert FAULTS[fault] in reason
    assert len(rig.servers()) == 1


def test_what_did_not_serve_here_is_not_tried_again_and_plan_and_doctor_say_so(rig: Rig) -> None:
    folder = rig.project("project", context=1024, faults=["illegal"])
    assert rig(folder, "up")[0] == 0
    rig(folder, "down", "--drain", "0")
    code, _, err = rig(folder, "up")
    assert (code, "does not serve here" in err) == (0, False)
    rejected = json.loads(rig(folder, "plan", "--json")[1])["rejected"]
    assert any(each["cause"] == "failed" and "0.illegal" in each["name"] for each in rejected)
    findings = json.loads(rig(folder, "doctor", "--json")[1])["findings"]
    assert any(each["id"] == "failed-here" for each in findings)


def test_where_nothing_serves_the_last_cause_is_the_error_and_what_was_current_stays(rig: Rig) -> None:
    good = rig.project("good", context=512)
    assert rig(good, "up")[0] == 0
    was = rig.home.current.read_text()
    folder = rig.project("project", context=1024, faults=["illegal"], serving=False)
    code, _, err = rig(folder, "up")
    assert code == 5, err
    assert "by SIGILL" in err
    assert "choose another engine" in err
    assert rig.home.current.read_text() == was


def test_a_model_that_no_engine_knows_is_no_reason_to_fetch_another(rig: Rig) -> None:
    folder = rig.project("project", context=1024, faults=["model"])
    code, _, err = rig(folder, "up")
    assert code == 5
    assert "unknown model architecture" in err
    assert "does not serve here" not in err
