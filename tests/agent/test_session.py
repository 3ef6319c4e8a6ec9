from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.agent.runs import list_runs, read_run
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat
from concierge.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

WAITING_RUN = """
import asyncio, pathlib, signal, sys
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat

async def wait():
    print("asked", flush=True)
    await asyncio.Event().wait()

def terminate(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, terminate)
try:
    asyncio.run(run_task(FakeChat([lambda _: wait()]), Task("t", "m"), workspace_root=pathlib.Path(sys.argv[1])))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("sent", "exit_code", "reason"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 130, "interrupted"),
        (signal.SIGKILL, -signal.SIGKILL, "killed"),
    ],
)
def test_a_signal_leaves_a_readable_run(tmp_path: Path, sent: signal.Signals, exit_code: int, reason: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING_RUN, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"asked\n"
            assert [run.result.status for run in list_runs(tmp_path)] == ["running"]
            child.send_signal(sent)
            assert child.wait(10) == exit_code
        finally:
            child.kill()
    (run,) = list_runs(tmp_path)
    assert (run.result.status, run.result.reason, run.result.exit_code) == ("interrupted", reason, 130)
    assert run.path.joinpath("result.json").exists() == (reason == "interrupted")


def test_many_runs_at_once_each_have_their_own_directory(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        runs = [
            run_task(FakeChat([f"Answer {number}."]), Task(f"t{number}", "m"), workspace_root=tmp_path)
            for number in range(20)
        ]
        return [result.id for result in await asyncio.gather(*runs)]

    made = asyncio.run(scenario())
    assert len(set(made)) == 20
    for number, run_id in enumerate(made):
        assert read_run(tmp_path, run_id).summary.result.text == f"Answer {number}."


def test_a_run_directory_holds_three_things_and_is_private(tmp_path: Path) -> None:
    result = asyncio.run(run_task(FakeChat(["Yes."]), Task("t", "m"), workspace_root=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == result.id
    assert sorted(path.name for path in run.iterdir()) == ["events.jsonl", "result.json", "workspace"]
    assert run.stat().st_mode & 0o077 == 0
    assert json.loads((run / "result.json").read_text()) == {"schema": 1, **result.as_dict()}
    assert list(result.as_dict()) == [
        "ts", "id", "seq", "kind", "status", "reason", "text", "steps", "usage", "seconds", "model", "error",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be made"):
        asyncio.run(run_task(FakeChat([]), Task("t", "m"), workspace_root=tmp_path))
    tmp_path.chmod(0o700)
