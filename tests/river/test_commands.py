"""From a command to an answer: the whole river, with the real engine and the real model."""

from __future__ import annotations

import json
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.river.place import Place

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")]

QUESTION = "What is the capital of France? Answer in one sentence."
STORY = "Write a very long story about a king. Tell every detail."
MODEL = ("--model", "smollm2-135m")


def test_the_answer_is_alone_on_stdout_and_the_run_is_on_disk(place: Place) -> None:
    code, out, err = place("run", *MODEL, QUESTION)
    assert (code, out) == (0, "The capital of France is Paris.\n")
    assert str(Path(".concierge", "runs")) in err
    assert "smollm2-135m has no tools: it answers, and touches no file." in err
    (run,) = (place.root / ".concierge" / "runs").iterdir()
    assert json.loads((run / "result.json").read_text())["status"] == "done"
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert events[0]["versions"]["engine"].startswith("llama-cpp")
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "run_started"
    assert kinds.count("run_ended") == 1
    assert kinds[-1] == "run_ended"


def test_a_second_run_finds_the_server_and_changes_nothing(place: Place) -> None:
    place("up", *MODEL)
    before, files = place.servers(), sorted(place.home.rglob("*"))
    code, out, _ = place("run", *MODEL, "--json", QUESTION)
    again = place("up", *MODEL, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert (code, told[-1]["text"]) == (0, "The capital of France is Paris.")
    assert [event["kind"] for event in told] == ["run_started", "model_asked", "model_replied", "run_ended"]
    assert json.loads(again[1])["started"] is False
    assert (place.servers(), sorted(place.home.rglob("*"))) == (before, files)


def test_a_warm_run_reads_no_catalogue(place: Place) -> None:
    place("up", *MODEL)
    place.environ["PYTHONPROFILEIMPORTTIME"] = "1"
    code, _, imported = place("run", *MODEL, QUESTION)
    assert code == 0
    assert "concierge.deploy.generation" in imported
    assert [
        name for name in ("pydantic", "concierge.catalog.types", "concierge.machine.types") if f" {name}\n" in imported
    ] == []


def test_status_follows_up_and_down(place: Place) -> None:
    states = []
    for command in (("up", *MODEL), ("down",)):
        assert place(*command)[0] == 0
        states.append(json.loads(place("status", "--json")[1])["state"])
    assert states == ["ready", "absent"]
    assert place.servers() == []


def test_two_at_once_share_one_server(place: Place) -> None:
    with ExitStack() as stack:
        both = [stack.enter_context(place.start("run", *MODEL, QUESTION)) for _ in range(2)]
        answers = [process.communicate(timeout=90)[0] for process in both]
    assert answers == ["The capital of France is Paris.\n"] * 2
    assert len(place.servers()) == 1
    assert len(json.loads(place("runs", "list", "--json")[1])["runs"]) == 2


@pytest.fixture
def hangups_reach() -> Iterator[None]:
    """Where the suite itself was started under nohup, what it starts would ignore them too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_reach")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_answer_leaves_nothing_running_that_was_not_there_before(
    place: Place, number: signal.Signals
) -> None:
    with place.start("run", *MODEL, STORY) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Run "):
                break
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert place.servers() == []
    (summary,) = json.loads(place("runs", "list", "--json")[1])["runs"]
    assert summary["status"] == "interrupted"


def test_a_server_that_was_there_before_outlives_an_interrupted_answer(place: Place) -> None:
    place("up", *MODEL)
    before = place.servers()
    with place.start("run", *MODEL, STORY) as process:
        assert process.stderr is not None
        assert "smollm2-135m answers at" in process.stderr.readline()
        assert process.stderr.readline().startswith("Run ")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (process.returncode, place.servers()) == (130, before)


def test_the_api_runs_a_task_and_shows_it(place: Place) -> None:
    with place.start("serve", *MODEL, "--port", "0") as process:
        assert process.stderr is not None
        told = ""
        while not (found := re.search(r"Serving (\S+)\n.*: (\S+)\n", told)):
            told += process.stderr.readline()
        url, token = found.groups()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            assert client.get("/health").json()["ok"] is True
            run = client.post("/runs", params={"wait": "true"}, json={"task": QUESTION}).json()
            assert client.get(f"/runs/{run['id']}").json()["text"] == "The capital of France is Paris."
            assert httpx.get(f"{url}/runs/{run['id']}").status_code == 401
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_a_configured_key_reaches_no_file(place: Place) -> None:
    place.environ["CONCIERGE_LLM_API_KEY"] = "sk-very-secret"
    assert place("run", *MODEL, QUESTION)[0] == 0
    written = [path for path in (*place.root.rglob("*.json*"), *place.root.rglob("*.log")) if path.is_file()]
    assert written
    assert [path for path in written if b"sk-very-secret" in path.read_bytes()] == []
