"""Whole commands that get into one another's way, or are killed: no answer is cut, no server lost, no draft left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

if sys.platform == "win32":
    pytest.skip("uses POSIX signals", allow_module_level=True)

from tests.river.rig import Rig, wheel
from tests.river.stub_engine import WORDS
from tests.wait import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ANSWER = "".join(f"{number} " for number in range(WORDS)).strip()

AT_ONCE = 40
MIXED_S = 60.0
MIXED = ("run", "up", "status", "plan", "run", "up", "run", "up", "run", "status", "run", "run", "plan", "down")

POINTS = 456
WORKERS = 4


def rig_in(root: Path) -> Rig:
    build = wheel()
    if build is None:
        pytest.skip("the catalogue has no engine wheel for this system")
    return Rig(root, build)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = rig_in(tmp_path / "rig")
    yield rig
    code, _, err = rig(rig.root, "down")
    assert (code, rig.servers()) == (0, []), err


def begun(run: subprocess.Popen[str]) -> None:
    """Wait until a run has its directory: from then on it asks the server."""
    assert run.stderr is not None
    assert any("Run " in line for line in run.stderr)


def test_a_run_is_whole_although_another_folder_wants_another_server(rig: Rig) -> None:
    one, other = rig.project("one", context=8192), rig.project("other", context=1024)
    with rig.start(one, "run", "--locked", "hi") as running:
        with rig.held():
            begun(running)
            assert rig(other, "up", "--locked")[0] == 0
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out.strip()) == (0, ANSWER), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_run_that_started_the_server_ends_that_run_alone(rig: Rig, number: signal.Signals) -> None:
    folder = rig.project("one", context=8192)
    with rig.held(), rig.start(folder, "run", "--locked", "hi") as starter:
        begun(starter)
        joiner = rig.start(folder, "run", "--locked", "hi")
        begun(joiner)
        starter.send_signal(number)
        starter.communicate(timeout=60)
    out, err = joiner.communicate(timeout=60)
    assert starter.returncode == 130
    assert (joiner.returncode, out.strip()) == (0, ANSWER), err
    assert len(rig.servers()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_only_run_takes_its_server_along(rig: Rig, number: signal.Signals) -> None:
    folder = rig.project("one", context=8192)
    with rig.held(), rig.start(folder, "run", "--locked", "hi") as running:
        begun(running)
        running.send_signal(number)
        running.communicate(timeout=60)
    assert (running.returncode, rig.servers()) == (130, [])


def test_a_run_whose_server_was_killed_says_so_and_ends_with_5(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    assert rig(folder, "up", "--locked")[0] == 0
    with rig.held(), rig.start(folder, "run", "--locked", "hi") as running:
        begun(running)
        for pid in rig.servers():
            os.kill(pid, signal.SIGKILL)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 5
    assert "ended while it was in use" in err
    assert "out of memory" in err


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_of_serve_during_a_start_leaves_nothing(rig: Rig, times: int) -> None:
    folder = rig.project("one", context=8192)
    rig.pace(load_s=30, answer_s=0)
    with rig.start(folder, "serve", "--locked", "--port", "0") as serving:
        until(rig.servers)
        for _ in range(times):
            serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)
    assert (serving.returncode, rig.servers()) == (130, [])


def test_ctrl_c_of_serve_gives_up_what_a_run_is_having_started(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    rig.environ["CONCIERGE_API_TOKEN"] = "token-of-the-test"
    with rig.start(folder, "serve", "--locked", "--port", "0") as serving:
        assert serving.stderr is not None
        url = next(line.split()[1] for line in serving.stderr if line.startswith("Serving"))
        for pid in rig.servers():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not rig.servers())
        rig.pace(load_s=60, answer_s=0)
        posting = threading.Thread(target=post, args=(url, "token-of-the-test"))
        posting.start()
        until(rig.servers)
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)
        posting.join(60)
    assert (serving.returncode, rig.servers()) == (130, [])


def post(url: str, token: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(f"{url}/runs", json={"task": "hi"}, headers={"Authorization": f"Bearer {token}"}, timeout=60)


CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
RENAMED = ("unshare", "--uts", "sh", "-c", 'hostname renamed && exec "$@"', "sh")
ALL = '"$@" status; "$@" run --locked hi && "$@" up --locked && "$@" down'
"""What another container does with the home, one after the other; the last line on stdout is the endpoint's."""

ELSEWHERE = {
    "pid namespace": (*CONTAINER, "sh", "-c", ALL, "sh"),
    "network namespace": ("unshare", "--net", "sh", "-c", f"ip link set lo up; {ALL}", "sh"),
}


def possible(through: tuple[str, ...]) -> None:
    try:
        done = subprocess.run([*through, "true"], capture_output=True, check=False, timeout=20)
    except OSError:
        pytest.skip("there is no unshare here")
    if done.returncode != 0:
        pytest.skip(f"not allowed here: {done.stderr.decode()}")


def test_concierge_works_as_process_1_of_a_container(rig: Rig) -> None:
    possible(CONTAINER)
    folder = rig.project("one", context=8192)
    for words in (("up", "--locked"), ("run", "--locked", "hi")):
        code, _, err = rig(folder, *words, through=CONTAINER)
        assert code == 0, err
        until(lambda: not rig.servers())  # They end with their container.


def test_another_host_name_finds_the_same_server(rig: Rig) -> None:
    possible(RENAMED)
    folder = rig.project("one", context=8192)
    assert rig(folder, "up", "--locked")[0] == 0
    [server] = rig.servers()
    assert rig(folder, "status", through=RENAMED)[0] == 0
    assert rig(folder, "run", "--locked", "hi", through=RENAMED)[0] == 0
    assert rig.servers() == [server]
    assert rig(folder, "down", through=RENAMED)[0] == 0
    assert rig.servers() == []


@pytest.mark.parametrize("through", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_containers_that_share_a_home_leave_one_another_alone(rig: Rig, through: tuple[str, ...]) -> None:
    possible(through[: through.index("sh")])
    folder = rig.project("one", context=8192)
    assert rig(folder, "up", "--locked")[0] == 0
    servers, [record] = rig.servers(), rig.home.run.glob("servers/*/record.json")
    written = record.read_bytes()
    code, out, err = rig(folder, through=through)
    assert code == 0, err
    assert "elsewhere" in out
    assert ANSWER in out
    assert "left alone" in err
    assert rig.servers() == servers
    assert record.read_bytes() == written
    assert rig(folder, "status")[0] == 0


@pytest.mark.sweep
def test_mixed_commands_cut_no_answer_but_those_that_down_was_asked_to_cut(rig: Rig) -> None:
    folders = [rig.project("one", context=8192), rig.project("other", context=1024), rig.project("third", context=512)]
    rig.pace(load_s=0.3, answer_s=3)
    end = time.monotonic() + MIXED_S
    wrong: list[str] = []
    counted: list[str] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)  # the same commands every time
        while time.monotonic() < end:
            word, folder = dice.choice(MIXED), dice.choice(folders)
            words = {"run": ("run", "--locked", "hi"), "up": ("up", "--locked"), "plan": ("plan", "--locked")}
            code, out, err = rig(folder, *words.get(word, (word,)))
            counted.append(f"{word} {code}")
            whole = code == 0 and (word != "run" or out.strip() == ANSWER)
            refused = code == 5 and "is in use: process" in err
            cut = code == 5 and "was stopped by another command" in err  # As somebody asked, with `down`.
            if not whole and not refused and not cut and word != "status":
                wrong.append(f"{word}: {code} {out} {err}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(MIXED_S + 300)
    assert wrong == []
    assert sum(each == "run 0" for each in counted) > AT_ONCE


COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cold up": (("down",), ("up", "--locked")),
    "warm up": (("up", "--locked"),),
    "run": (("run", "--locked", "hi"),),
    "down": (("up", "--locked"), ("down",)),
}
"""What is killed is the last one; the others make the place for it."""


@pytest.mark.sweep
def test_a_kill_at_any_moment_loses_no_server_and_leaves_no_draft(tmp_path: Path) -> None:
    points = [(name, index) for index in range(POINTS // len(COMMANDS)) for name in COMMANDS]
    with ThreadPoolExecutor(WORKERS) as pool:
        shares = [points[worker::WORKERS] for worker in range(WORKERS)]
        wrong = list(pool.map(lambda pair: sweep(tmp_path / f"w{pair[0]}", pair[1]), enumerate(shares)))
    assert [line for lines in wrong for line in lines] == []


def sweep(root: Path, points: list[tuple[str, int]]) -> list[str]:
    """Kill a command at each point, and say what the next ones then found wrong."""
    rig, wrong = rig_in(root), []
    folder, other = rig.project("one", context=8192), rig.project("other", context=1024)
    longest: dict[str, float] = {}
    for name, index in points:
        *before, last = COMMANDS[name]
        for words in before:
            rig(folder, *words)
        if name not in longest:
            longest[name] = timed(lambda words=last: rig(folder, *words))  # type: ignore[misc]
            for words in before:
                rig(folder, *words)
        killed = rig.start(other if index % 3 == 2 else folder, *last)
        with suppress(subprocess.TimeoutExpired):
            killed.wait(longest[name] * 1.1 * (index + 0.5) / (POINTS / len(COMMANDS)))
        killed.kill()
        killed.communicate()
        wrong += [f"{name} {index}: {line}" for line in harm(rig, folder)]
    wrong += [f"at the end: {line}" for line in harm(rig, folder)]
    wrong += [f"draft {path}" for path in rig.drafts()]
    rig(folder, "down")
    wrong += [f"left after down: {pid}" for pid in rig.servers()]
    return wrong


def harm(rig: Rig, folder: Path) -> list[str]:
    """Return what is wrong after a command was killed: the next one must find whatever there is, and use it."""
    there = rig.servers()
    code, _, err = rig(folder, "up", "--locked")
    now = rig.servers()
    if code != 0 or "has a bug" in err:
        return [f"up ended with {code}: {err}"]
    if len(now) != 1:
        return [f"{len(now)} servers run, {len(there)} before: {err}"]
    return []


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began
