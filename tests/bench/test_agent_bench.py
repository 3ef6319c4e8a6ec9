"""How ``bench/agent`` runs its tasks, with agents that are a few lines each."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from bench.agent import report
from bench.agent.__main__ import attempt, chosen
from bench.agent.driver import Bounds, Ran
from bench.agent.ours import Concierge, MisusedError
from bench.agent.peers import PINS, PeerDriver, cache
from bench.agent.report import Tried
from bench.agent.tasks import TASKS

if TYPE_CHECKING:
    from pathlib import Path

HELLO = next(task for task in TASKS if task.name == "write-hello")

PEER = """
import json, os, sys
from bench.agent.workers.lines import serve

def run(request, folder, told):
    print("noise of the peer")
    told.answered(prompt_tokens=7, completion_tokens=3)
    if request == "hang":
        sys.stdin.readline()
    if request == "break":
        raise ValueError("broken")
    (folder / "hello.txt").write_text(request)
    return f"did {request}", ""

serve(run)
"""


class Greeter:
    """Does one task, whatever it is asked."""

    def run(self, request: str, folder: Path) -> Ran:
        (folder / "hello.txt").write_text("Hello, world!\n", encoding="utf-8")
        return Ran(answer=f"Done: {request}", steps=2, prompt_tokens=10, completion_tokens=5, seconds=1.5)


class Idler:
    def run(self, request: str, folder: Path) -> Ran:
        return Ran(error=f"{request} in {folder.name[:4]}")


def concierge(place: Path, script: str, *, protocol: str | None = None) -> Concierge:
    return Concierge(place=place, protocol=protocol, command=(sys.executable, "-c", script))


def peer(seconds: float = 5.0) -> PeerDriver:
    environ = {**os.environ, "PYTHONPATH": str(PINS.parents[2])}
    return PeerDriver([sys.executable, "-c", PEER], environ=environ, bounds=Bounds(seconds=seconds))


def test_a_task_is_judged_by_what_is_in_its_folder_which_is_gone_afterwards(tmp_path: Path) -> None:
    assert attempt(HELLO, Greeter(), tmp_path).solved
    assert attempt(HELLO, Idler(), tmp_path).reason == "there is no file hello.txt"
    assert list(tmp_path.iterdir()) == []


def test_tasks_are_chosen_by_kind_and_by_name() -> None:
    assert chosen([]) == list(TASKS)
    assert [task.name for task in chosen(["write-hello"])] == ["write-hello"]
    assert {task.kind for task in chosen(["code", "read"])} == {"code", "read"}
    assert chosen(["nothing"]) == []


def test_the_table_has_a_row_for_each_kind_that_was_tried_and_a_line_for_each_failure() -> None:
    ran = Ran(steps=2, prompt_tokens=100, completion_tokens=20, seconds=3.0)
    tries = [
        Tried(task="read-a", kind="read", number=1, reason="", ran=ran),
        Tried(task="code-b", kind="code", number=1, reason="f(1) is 2", ran=Ran(error="late")),
    ]
    table = report.table("agent", tries)
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line and line[0] != " "}
    assert rows["read"] == ["1/1", "2.0", "120", "3.0"]
    assert rows["all"] == ["1/2", "1.0", "60", "1.5"]
    assert "write" not in rows
    assert "  code-b: f(1) is 2 (late)" in table


def test_the_document_holds_the_facts_and_every_try() -> None:
    tries = [Tried(task="read-a", kind="read", number=1, reason="", ran=Ran(answer="8", seconds=1.239))]
    written = json.loads(report.document({"agent": "x"}, tries))
    assert (written["agent"], written["solved"], written["total"]) == ("x", 1, 1)
    assert written["tries"][0]["seconds"] == 1.24


def test_concierge_is_asked_in_the_folder_with_the_bounds_and_the_protocol(tmp_path: Path) -> None:
    script = (
        "import json, os, sys; a = sys.argv[1:]\n"
        "print(json.dumps({'text': ' '.join([os.environ['CONCIERGE_LLM_PROTOCOL'], *a]), 'steps': 3, 'seconds': 2.5,"
        " 'usage': {'prompt_tokens': 8, 'completion_tokens': 4}, 'error': None}))"
    )
    ran = concierge(tmp_path, script, protocol="text").run("Do it.", tmp_path / "work")
    assert ran.answer.startswith(f"text run --in {tmp_path / 'work'} --json --temperature 0 ")
    assert ran.answer.endswith("--max-steps 10 --max-seconds 60.0 Do it.")
    assert (ran.steps, ran.prompt_tokens, ran.completion_tokens, ran.seconds, ran.error) == (3, 8, 4, 2.5, "")


def test_what_concierge_failed_of_is_the_result(tmp_path: Path) -> None:
    stopped = 'print(\'{"error": {"what": "No step is left."}, "text": "so far"}\'); raise SystemExit(1)'
    assert concierge(tmp_path, stopped).run("x", tmp_path).error == "No step is left."
    early = 'print(\'{"error": "ServerError", "what": "It did not come up."}\'); raise SystemExit(5)'
    assert concierge(tmp_path, early).run("x", tmp_path).error == "It did not come up."
    silent = "import sys; sys.exit('Killed.')"
    assert concierge(tmp_path, silent).run("x", tmp_path).error == "exit code 1: Killed."


def test_a_command_that_concierge_does_not_know_ends_the_bench(tmp_path: Path) -> None:
    with pytest.raises(MisusedError, match="No such option"):
        concierge(tmp_path, "print('No such option: --in'); raise SystemExit(2)").run("x", tmp_path)


def test_a_peer_does_one_request_after_another_whatever_it_prints(tmp_path: Path) -> None:
    driver = peer()
    try:
        for request in ("one", "two"):
            ran = driver.run(request, tmp_path)
            assert (ran.answer, ran.steps, ran.prompt_tokens, ran.error) == (f"did {request}", 1, 7, "")
    finally:
        driver.close()
    assert (tmp_path / "hello.txt").read_text(encoding="utf-8") == "two"


def test_a_peer_that_breaks_or_is_late_says_so_and_the_next_request_is_done(tmp_path: Path) -> None:
    driver = peer(seconds=1.0)
    try:
        assert driver.run("break", tmp_path).error == "ValueError: broken"
        late = driver.run("hang", tmp_path)
        assert (late.error, late.steps, late.completion_tokens) == ("not done in 1 s", 1, 3)
        assert driver.run("again", tmp_path).answer == "did again"
    finally:
        driver.close()


def test_every_package_of_the_peers_is_pinned_by_hash() -> None:
    text = PINS.read_text(encoding="utf-8")
    pinned = [line for line in text.splitlines() if "==" in line and not line.startswith(" ")]
    assert any(line.startswith("mini-swe-agent==") for line in pinned)
    assert any(line.startswith("smolagents==") for line in pinned)
    assert all(line.endswith("\\") for line in pinned)
    assert "://" not in text


def test_the_peers_environment_lies_in_the_users_cache(tmp_path: Path) -> None:
    assert cache({"XDG_CACHE_HOME": str(tmp_path)}).parent == tmp_path / "concierge-bench"
