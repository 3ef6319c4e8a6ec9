"""The shell that a model may use: ordinary work succeeds in it, and it ends with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from concierge.agent.sandbox import search
from concierge.agent.sandbox.seatbelt import profile
from concierge.agent.sandbox.shell import COMMAND_BYTES, Limits, Outcome, Sandbox
from concierge.agent.sandbox.view import Secrets, View, seen
from concierge.errors import SandboxError
from tests.wait import PATIENCE_S, gone, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these layers")

LIMITS = Limits(seconds=PATIENCE_S)
OFFERED = search.candidates() if sys.platform == "linux" else []


@pytest.fixture(params=OFFERED, ids=lambda sandbox: sandbox.layer)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    chosen: Sandbox = request.param
    if reason := asyncio.run(search.fault(chosen)):
        pytest.skip(reason)
    return chosen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def run(sandbox: Sandbox, command: str, folder: Path, *, limits: Limits = LIMITS, **more: Any) -> Outcome:
    return within(sandbox.run(command, folder=folder, limits=limits, **more))


def within(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    return asyncio.run(asyncio.wait_for(work, PATIENCE_S))


def said(sandbox: Sandbox, command: str, folder: Path, **more: Any) -> str:
    outcome = run(sandbox, command, folder, **more)
    assert (outcome.exit, outcome.ended, outcome.cut) == (0, "exit", False), outcome
    return outcome.output


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that have the mark among their arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return found


# ---------------------------------------------------------------------------------------------------- ordinary work

WORK = {
    "a file written and read": ("echo hello > notes.txt && cat notes.txt", "hello\n"),
    "a pipe": ("printf 'b\\na\\n' | sort | tr -d '\\n'", "ab"),
    "grep in a tree": ("mkdir -p a/b && echo needle > a/b/c && grep -rl needle a", "a/b/c\n"),
    "python": ("python3 -c 'print(6 * 7)'", "42\n"),
    "a script that was just made": ("printf '#!/bin/sh\\necho ran\\n' > x && chmod +x x && ./x", "ran\n"),
    "both streams": ("echo out; echo err >&2", "out\nerr\n"),
    "a folder moved, linked and removed": ("mkdir a && mv a b && ln -s b c && ls c/ && rm -r b && ls", "c\n"),
    "a hard link inside": ("echo x > a && ln a b && cat b", "x\n"),
    "a file from one folder into another": ("mkdir a b && echo x > a/f && mv a/f b/ && cat b/f", "x\n"),
    "a private /tmp": ("echo x > /tmp/a && cat /tmp/a && cat $TMPDIR/a", "x\nx\n"),
    "devices": ("echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c", "4\n4\n"),
    "a background job": ("sleep 0.1 & wait && echo done", "done\n"),
    "a named pipe": ("mkfifo p && (echo x > p &) && cat p", "x\n"),
    "shared memory between processes": (
        "python3 -c 'from multiprocessing import shared_memory as s; m = s.SharedMemory(create=True, size=9);"
        " m.close(); m.unlink(); print(1)'",
        "1\n",
    ),
    "a server of its own": (
        "python3 -c 'import socket as s; l = s.create_server((\"127.0.0.1\", 0));"
        " c = s.create_connection(l.getsockname()); c.sendall(b\"x\"); print(l.accept()[0].recv(1))'",
        "b'x'\n",
    ),
    "a socket of its own": (
        "python3 -c 'import socket as s; l = s.socket(s.AF_UNIX); l.bind(\"s\"); l.listen();"
        " c = s.socket(s.AF_UNIX); c.connect(\"s\"); print(1)'",
        "1\n",
    ),
    "the folder as home": ('cd && [ "$PWD" = "$HOME" ] && cd ~ && touch here && ls', "here\n"),
    "here documents": ("cat <<END\nhere\nEND", "here\n"),
    "its processes": ("ls -d /proc/[0-9]* | wc -l | grep -q '^[1-9]$' && echo few", "few\n"),
    "the names of users": ("id -u > /dev/null && getent passwd root | cut -d: -f1", "root\n"),
}  # fmt: skip


@pytest.mark.parametrize("work", WORK)
def test_ordinary_work_succeeds(sandbox: Sandbox, folder: Path, work: str) -> None:
    command, output = WORK[work]
    assert said(sandbox, command, folder) == output


@pytest.mark.skipif(shutil.which("git", path="/usr/bin:/bin") is None, reason="there is no git")
def test_git_works(sandbox: Sandbox, folder: Path) -> None:
    command = (
        "git init -q . && git config user.email a@b && git config user.name A && echo x > f && git add f"
        " && git commit -qm First && git log --format=%s"
    )
    assert said(sandbox, command, folder).endswith("First\n")


@pytest.mark.skipif(shutil.which("cc", path="/usr/bin:/bin") is None, reason="there is no compiler")
def test_a_compiler_works(sandbox: Sandbox, folder: Path) -> None:
    program = "echo '#include <stdio.h>\nint main(void) { puts(\"built\"); }' > a.c && cc a.c && ./a.out"
    assert said(sandbox, program, folder) == "built\n"


def test_what_is_written_is_this_users_own(sandbox: Sandbox, folder: Path) -> None:
    said(sandbox, "echo hello > notes.txt", folder)
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "hello\n"
    assert (folder / "notes.txt").stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 7", 7), ("false", 1), ("no-such-program", 127), ("kill -9 $$", 137), ("kill -15 $$", 143), ("(", 2)],
)
def test_the_exit_code_is_that_of_a_shell(sandbox: Sandbox, folder: Path, command: str, code: int) -> None:
    assert run(sandbox, command, folder).exit == code


def test_the_environment_is_bare(sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "sesame")
    monkeypatch.setenv("BASH_ENV", "/dev/zero")
    names = {line.partition("=")[0] for line in said(sandbox, "env", folder).splitlines()}
    assert names <= {"HOME", "LANG", "PATH", "PWD", "TERM", "TMPDIR", "SHLVL", "_", "OLDPWD"}


def test_output_that_is_no_text_is_shown_all_the_same(sandbox: Sandbox, folder: Path) -> None:
    assert said(sandbox, r"printf 'a\377\000b'", folder) == "a\ufffd\0b"


@pytest.mark.parametrize("command", ["x" * (COMMAND_BYTES + 1), "echo a\0b"])
def test_a_command_that_no_kernel_takes_is_refused_in_words(sandbox: Sandbox, folder: Path, command: str) -> None:
    outcome = run(sandbox, command, folder)
    assert outcome.exit == 126
    assert "Put it into a file." in outcome.output


def test_the_longest_command_is_taken(sandbox: Sandbox, folder: Path) -> None:
    longest = f"echo done # {'x' * COMMAND_BYTES}"[:COMMAND_BYTES]
    assert said(sandbox, longest, folder) == "done\n"


def test_a_command_with_half_a_character_is_run(sandbox: Sandbox, folder: Path) -> None:
    assert said(sandbox, "echo '\ud800'", folder) == "?\n"


@pytest.mark.parametrize("name", ["with spaces", "ünïcode", "quote'\"", "new\nline", "-dash", "b\udcffytes"])
def test_a_folder_may_have_any_name(sandbox: Sandbox, folder: Path, name: str) -> None:
    (folder / name).mkdir()
    said(sandbox, "touch made", folder / name)
    assert (folder / name / "made").exists()


# ------------------------------------------------------------------------------------------------------- how it ends


def test_a_command_that_takes_too_long_is_ended_with_what_it_said(sandbox: Sandbox, folder: Path) -> None:
    outcome = run(sandbox, "echo begun; sleep 1000", folder, limits=replace(LIMITS, seconds=1))
    assert outcome == Outcome(None, "begun\n", cut=False, ended="time")


@pytest.mark.parametrize(
    "command", ["trap '' TERM INT HUP; while :; do :; done", "kill -STOP $$", "exec >/dev/null 2>&1; sleep 1000"]
)
def test_no_command_outlasts_its_time(sandbox: Sandbox, folder: Path, command: str) -> None:
    assert run(sandbox, command, folder, limits=replace(LIMITS, seconds=1)).ended == "time"


def test_a_command_without_an_end_to_its_output_is_ended(sandbox: Sandbox, folder: Path) -> None:
    outcome = run(sandbox, "yes", folder, limits=replace(LIMITS, output_bytes=1000))
    assert outcome == Outcome(None, "y\n" * 500, cut=True, ended="output")


def test_output_of_exactly_the_bound_is_whole(sandbox: Sandbox, folder: Path) -> None:
    outcome = run(sandbox, "head -c 1000 /dev/zero", folder, limits=replace(LIMITS, output_bytes=1000))
    assert outcome == Outcome(0, "\0" * 1000, cut=False, ended="exit")


SURVIVORS = {
    "a background job": "sleep @ &",
    "nohup": "nohup sleep @ > /dev/null 2>&1 &",
    "a session of its own": "setsid sleep @ > /dev/null 2>&1 < /dev/null &",
    "disowned": "sleep @ & disown",
    "a daemon": "python3 -c 'import os\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n"
    "  os.closerange(0, 99)\n  os.execvp(\"sleep\", [\"sleep\", \"@\"])\n' ",
    "a stopped one": "sleep @ & until grep -qs sleep /proc/$!/comm; do :; done; kill -STOP $!",
    "one that hears nothing": "(trap '' HUP TERM INT; exec sleep @) &",
}  # fmt: skip


@pytest.mark.parametrize("survivor", SURVIVORS)
def test_nothing_outlives_its_command(sandbox: Sandbox, folder: Path, survivor: str) -> None:
    mark = f"86400.{os.getpid()}"
    command = SURVIVORS[survivor].replace("@", mark) + "\nuntil grep -qs sleep /proc/[0-9]*/comm; do :; done; echo on"
    assert run(sandbox, command, folder).output.endswith("on\n")
    assert marked(mark) == []


def test_all_of_a_command_is_gone_when_its_time_is_over(sandbox: Sandbox, folder: Path) -> None:
    mark = f"86401.{os.getpid()}"
    run(sandbox, f"setsid sleep {mark} & sleep {mark}", folder, limits=replace(LIMITS, seconds=1))
    assert marked(mark) == []


def test_all_of_a_command_is_gone_when_its_caller_is_cancelled(sandbox: Sandbox, folder: Path) -> None:
    mark = f"86402.{os.getpid()}"

    async def cancelled() -> None:
        running = asyncio.create_task(
            sandbox.run(f"setsid sleep {mark} & touch begun; sleep {mark}", folder=folder, limits=LIMITS)
        )
        await asyncio.to_thread(until, (folder / "begun").exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert marked(mark) == []

    asyncio.run(asyncio.wait_for(cancelled(), PATIENCE_S))


def test_a_caller_that_is_cancelled_twice_leaves_nothing_either(sandbox: Sandbox, folder: Path) -> None:
    mark = f"86403.{os.getpid()}"

    async def cancelled() -> None:
        running = asyncio.create_task(sandbox.run(f"touch begun; sleep {mark}", folder=folder, limits=LIMITS))
        await asyncio.to_thread(until, (folder / "begun").exists)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(asyncio.wait_for(cancelled(), PATIENCE_S))
    until(lambda: marked(mark) == [])


CALLER = """
import asyncio, sys
from pathlib import Path
from concierge.agent.sandbox.shell import Limits, Sandbox
sandbox = Sandbox(sys.argv[1], sys.argv[2])
asyncio.run(sandbox.run(sys.argv[4], folder=Path(sys.argv[3]), limits=Limits(seconds=600)))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_its_caller(sandbox: Sandbox, folder: Path, sent: signal.Signals) -> None:
    mark = f"86404.{os.getpid()}"
    command = f"setsid sleep {mark} & touch begun; sleep {mark}"
    source = str(Path(search.__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, sandbox.layer, sandbox.helper, str(folder), command],
        env={**os.environ, "PYTHONPATH": source},
        stderr=subprocess.DEVNULL,
    ) as caller:
        until((folder / "begun").exists)
        family = psutil.Process(caller.pid).children(recursive=True)
        assert marked(mark) != []
        caller.send_signal(sent)
        until(lambda: marked(mark) == [] and all(gone(process) for process in family))


def test_a_killed_launcher_takes_its_command_along(sandbox: Sandbox, folder: Path) -> None:
    mark = f"86405.{os.getpid()}"

    async def killed() -> None:
        running = asyncio.create_task(
            sandbox.run(f"setsid sleep {mark} & touch begun; sleep {mark}", folder=folder, limits=LIMITS)
        )
        await asyncio.to_thread(until, (folder / "begun").exists)
        for child in psutil.Process().children():
            if any("launcher.main" in word for word in child.cmdline()):
                child.kill()
        with pytest.raises(SandboxError, match="the launcher was killed"):
            await running

    asyncio.run(asyncio.wait_for(killed(), PATIENCE_S))
    until(lambda: marked(mark) == [])


def test_the_loop_goes_on_while_commands_run(sandbox: Sandbox, folder: Path) -> None:
    async def together() -> tuple[Outcome, Outcome]:
        waits = sandbox.run("until [ -e go ]; do sleep 0.01; done; echo went", folder=folder, limits=LIMITS)
        makes = sandbox.run("touch go", folder=folder, limits=LIMITS)
        return await asyncio.gather(waits, makes)

    outcomes = asyncio.run(asyncio.wait_for(together(), PATIENCE_S))
    assert [outcome.output for outcome in outcomes] == ["went\n", ""]


def test_a_run_leaves_no_handles_and_no_zombies(sandbox: Sandbox, folder: Path) -> None:
    own = psutil.Process()

    async def some() -> tuple[int, int]:
        await sandbox.run("true", folder=folder, limits=LIMITS)
        before = own.num_fds()
        for command, bound in (("true", LIMITS), ("yes", replace(LIMITS, output_bytes=10))):
            await sandbox.run(command, folder=folder, limits=bound)
        return before, own.num_fds()

    before, after = asyncio.run(asyncio.wait_for(some(), PATIENCE_S))
    assert after <= before
    assert [child for child in own.children() if child.status() == psutil.STATUS_ZOMBIE] == []


# ------------------------------------------------------------------------------------- what a folder is, and is not


@pytest.fixture
def other(tmp_path: Path) -> Path:
    other = tmp_path / "other"
    other.mkdir()
    (other / "secret").write_text("sesame", encoding="utf-8")
    return other


def test_a_folder_that_moves_while_a_command_runs_takes_it_along(sandbox: Sandbox, folder: Path, other: Path) -> None:
    command = "touch begun; until [ -e moved ]; do sleep 0.01; done; cat ../other/secret ../secret; echo x > made"

    async def moving() -> Outcome:
        running = asyncio.create_task(sandbox.run(command, folder=folder, limits=LIMITS))
        await asyncio.to_thread(until, (folder / "begun").exists)
        await asyncio.to_thread(folder.rename, other / "folder")
        (other / "folder" / "moved").touch()
        return await running

    outcome = within(moving())
    assert "sesame" not in outcome.output
    assert (other / "folder" / "made").exists()
    assert not folder.exists()


def test_a_part_of_the_folder_that_is_moved_out_leads_nowhere(sandbox: Sandbox, folder: Path, other: Path) -> None:
    command = (
        "mkdir part && cd part && touch ../begun; until [ -e moved ]; do sleep 0.01; done;"
        " cat ../secret ../../other/secret; ls ..; cat made 2>&1"
    )

    async def moving() -> Outcome:
        running = asyncio.create_task(sandbox.run(command, folder=folder, limits=LIMITS))
        await asyncio.to_thread(until, (folder / "begun").exists)
        (folder / "part").rename(other / "part")
        (other / "part" / "moved").touch()
        return await running

    try:
        outcome = within(moving())
    except TimeoutError:  # Landlock hides from the command that it was moved.
        return
    assert "sesame" not in outcome.output
    assert "secret\n" not in outcome.output.replace("secret:", "")


def test_a_folder_swapped_for_a_link_again_and_again_never_shows_what_the_link_leads_to(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    parent, link, real = tmp_path / "parent", tmp_path / "link", tmp_path / "real"
    (parent / "folder").mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    (tmp_path / "elsewhere" / "folder" / "secret").write_text("sesame", encoding="utf-8")
    enough = threading.Event()

    def swap() -> None:
        while not enough.is_set():
            parent.rename(real)
            link.rename(parent)
            parent.rename(link)
            real.rename(parent)

    swapping = threading.Thread(target=swap)
    swapping.start()
    resolved = parent / "folder"
    heard = ""
    try:
        for _ in range(30):
            try:
                # The folder is resolved before the swap, as by a caller who keeps its path.
                heard += run(sandbox, "cat secret /proc/self/mountinfo", _Resolved(resolved)).output
            except SandboxError:
                continue
    finally:
        enough.set()
        swapping.join()
    assert "sesame" not in heard


class _Resolved(type(Path())):  # type: ignore[misc]  # the flavour of the system
    def resolve(self, strict: bool = False) -> Path:
        return Path(self)


def test_an_invisible_folder_is_so_inside_of_the_folder_too(sandbox: Sandbox, folder: Path) -> None:
    home = folder / "deep" / "home"
    home.mkdir(parents=True)
    (home / "key").write_text("sesame", encoding="utf-8")
    tries = (
        "cat deep/home/key", "ls deep/home", "touch deep/home/made", "mv deep/home x", "mv deep x", "rm -rf deep",
        "ln deep/home/key x", "chmod 777 deep/home", "rmdir deep/home", "mv deep/home/key x", "cp -r deep copied",
    )  # fmt: skip
    outcome = run(
        sandbox, "\n".join(f"{{ {each}; }} 2>&1 && echo ESCAPED" for each in tries), folder, invisible=(home,)
    )
    assert "sesame" not in outcome.output
    assert "ESCAPED" not in outcome.output
    again = run(sandbox, "grep -r sesame .", folder, invisible=(home,))
    assert "sesame" not in again.output
    assert (home / "key").read_text(encoding="utf-8") == "sesame"


def test_an_invisible_file_is_so_too(sandbox: Sandbox, folder: Path) -> None:
    (folder / ".env").write_text("sesame", encoding="utf-8")
    command = "cat .env; mv .env x; ln .env y; echo z > .env; rm -f .env; cat x y"
    assert "sesame" not in run(sandbox, command, folder, invisible=(folder / ".env",)).output
    assert (folder / ".env").read_text(encoding="utf-8") == "sesame"


def test_an_invisible_folder_that_is_missing_cannot_be_made_by_the_command(sandbox: Sandbox, folder: Path) -> None:
    home = folder / ".concierge"
    run(sandbox, "mkdir -p .concierge/trust; touch .concierge/trust/all", folder, invisible=(home,))
    assert list(home.iterdir()) == []


def test_an_invisible_part_of_the_system_is_so(sandbox: Sandbox, folder: Path) -> None:
    assert run(sandbox, "ls /usr/share", folder).exit == 0
    assert run(sandbox, "ls /usr/share", folder, invisible=(Path("/usr/share"),)).exit == 2


def test_a_folder_inside_of_an_invisible_one_can_be_worked_in(sandbox: Sandbox, folder: Path) -> None:
    home = folder / "home"
    (home / "work").mkdir(parents=True)
    (home / "key").write_text("sesame", encoding="utf-8")
    outcome = run(sandbox, "touch made; cat ../key", home / "work", invisible=(home,))
    assert "sesame" not in outcome.output
    assert (home / "work" / "made").exists()


def test_a_folder_that_is_itself_to_be_invisible_is_refused(sandbox: Sandbox, folder: Path) -> None:
    with pytest.raises(SandboxError, match="nothing can work in it"):
        run(sandbox, "true", folder, invisible=(folder,))


@pytest.mark.parametrize("path", ["/", "/usr", "/etc", "/tmp", "/home", "/root", "/proc/self", "/dev/shm", "/var"])
def test_a_folder_that_others_share_is_refused(path: str) -> None:
    with pytest.raises(SandboxError, match=r"A shell may not have"):
        seen(Path(path), invisible=(), network=False)


def test_the_home_is_refused_and_a_folder_in_it_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "project").mkdir()
    with pytest.raises(SandboxError, match="for itself"):
        seen(folder, invisible=(), network=False)
    assert seen(folder / "project", invisible=(), network=False).folder == str(folder / "project")


def test_a_secret_that_comes_while_one_works_is_hidden_from_the_next_command(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "open").touch(mode=0o644)
    (tmp_path / "shadow").touch(mode=0o640)
    secrets = Secrets([str(tmp_path)])
    assert secrets.below([str(tmp_path)]) == [str(tmp_path / "shadow")]
    assert secrets.below(["/usr"]) == []
    (tmp_path / "inner" / "key").touch(mode=0o600)
    assert sorted(secrets.below([str(tmp_path)])) == [str(tmp_path / "inner" / "key"), str(tmp_path / "shadow")]
    (tmp_path / "shadow").unlink()
    assert secrets.below([str(tmp_path)]) == [str(tmp_path / "inner" / "key")]


ENDING = """
import asyncio, sys
from pathlib import Path
from concierge.agent.sandbox import search
from concierge.agent.sandbox.shell import Limits

async def main():
    sandbox, folder = await search.find(), Path(sys.argv[1])
    async def ends():
        await asyncio.sleep(float(sys.argv[2]))
        raise RuntimeError("ended")
    runs = (sandbox.run("sleep 600", folder=folder, limits=Limits()) for _ in range(3))
    await asyncio.gather(ends(), *runs)

asyncio.run(main())
"""


@pytest.mark.skipif(not OFFERED, reason="nothing confines here")
@pytest.mark.parametrize("moment_s", ["0", "0.003", "0.005", "0.01", "0.02", "0.03"])
def test_a_program_that_ends_while_commands_start_takes_them_along(folder: Path, moment_s: str) -> None:
    if asyncio.run(search.find()) is None:
        pytest.skip("nothing confines here")
    ended = subprocess.run(
        [sys.executable, "-c", ENDING, str(folder), moment_s],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, "RuntimeError: ended")


def test_several_threads_may_look_for_secrets_at_once(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"inner{number}").mkdir()
    (tmp_path / "shadow").touch(mode=0o600)
    secrets, stop = Secrets([str(tmp_path)]), threading.Event()

    def change() -> None:
        while not stop.is_set():
            (tmp_path / "come").mkdir()
            (tmp_path / "come").rmdir()

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: secrets.below([str(tmp_path)]), range(400)))
    finally:
        stop.set()
        changing.join()
    assert all(paths == [str(tmp_path / "shadow")] for paths in found)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_is_none_is_refused(folder: Path, name: str) -> None:
    (folder / "file").touch()
    with pytest.raises(SandboxError, match=name):
        seen(folder / name, invisible=(), network=False)


def test_what_the_folder_gets_from_outside_is_not_hidden_by_its_link(sandbox: Sandbox, folder: Path) -> None:
    (folder.parent / "alias").symlink_to(folder)
    said(sandbox, "touch made", folder.parent / "alias")
    assert (folder / "made").exists()


# ---------------------------------------------------------------------------------------------------------- network

ASK = "python3 -c 'import socket, sys; print(socket.create_connection((\"127.0.0.1\", {}), 5).recv(9))' 2>&1"


@pytest.fixture
def port() -> Iterator[int]:
    """A server of this machine, outside of every sandbox, that says a word to whoever comes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _address = listening.accept()
                with accepted:
                    accepted.sendall(b"sesame")

    serving = threading.Thread(target=serve)
    serving.start()
    yield listening.getsockname()[1]
    # Wakes it.
    listening.shutdown(socket.SHUT_RDWR)
    serving.join(10)
    listening.close()


def test_the_network_is_there_when_it_was_asked_for(sandbox: Sandbox, folder: Path, port: int) -> None:
    assert "sesame" in run(sandbox, ASK.format(port), folder, network=True).output
    assert "sesame" not in run(sandbox, ASK.format(port), folder).output
    socket.create_connection(("127.0.0.1", port)).close()


def test_a_shared_network_brings_no_local_sockets_along(sandbox: Sandbox, folder: Path) -> None:
    name = f"concierge-{os.getpid()}-{folder.parent.name}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        program = f'import socket; socket.socket(socket.AF_UNIX).connect("\\0{name}"); print("ESCAPED")'
        outcome = run(sandbox, f"python3 -c '{program}' 2>&1", folder, network=True)
    assert "ESCAPED" not in outcome.output
    assert "Error" in outcome.output


def test_a_shared_network_can_look_up_names(sandbox: Sandbox, folder: Path) -> None:
    if Path("/etc/resolv.conf").exists():
        assert run(sandbox, "cat /etc/resolv.conf", folder, network=True).exit == 0


# ------------------------------------------------------------------------------------------------------ finding one


def test_what_works_here_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_answer", None)
    assert search.why_not() == ""
    found = asyncio.run(search.find())
    assert (found is None) == bool(search.why_not())
    assert asyncio.run(search.find()) is found


def test_where_nothing_works_the_reasons_of_all_are_told() -> None:
    offered = [Sandbox("bubblewrap", "/bin/false"), Sandbox("bubblewrap", "/no/such/program")]
    found, why = asyncio.run(search.first_that_works(offered))
    assert found is None
    assert why.count("bubblewrap: The command could not be confined, and was not run") == 2


def test_a_system_without_any_layer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_answer", asyncio.run(search.first_that_works([])))
    assert asyncio.run(search.find()) is None
    assert "Nothing is known that confines" in search.why_not()


PRETENDER = """#!{python}
import json, os, sys
words = sys.argv[1:]
fd = lambda name: int(words[words.index(name) + 1])
os.write(fd("--json-status-fd"), json.dumps({{"child-pid": os.getpid()}}).encode() + b"\\n")
os.write(8, b"\\n")
os.read(9, 1)
os.chdir(words[words.index("--chdir") + 1])
command = words[words.index("--") + 4:]
os.execv(command[0], command)
"""


def test_a_helper_that_only_pretends_is_found_out(folder: Path) -> None:
    pretender = folder / "bwrap"
    pretender.write_text(PRETENDER.format(python=sys.executable), encoding="utf-8")
    pretender.chmod(0o755)
    assert asyncio.run(search.fault(Sandbox("bubblewrap", str(pretender)))) == (
        "A command could read outside of its folder."
    )


@pytest.mark.parametrize("stopped", ["unshare", "landlock_create_ruleset"])
def test_a_kernel_that_refuses_a_part_gets_no_command(stopped: str, folder: Path) -> None:
    """The launcher is started below a filter that refuses one call, as containers do."""
    assert Path("/proc/self/status").exists()
    program = f"""
import asyncio, ctypes, struct, sys
from pathlib import Path
from concierge.agent.sandbox.launcher import kernel, seccomp
from concierge.agent.sandbox import search
from concierge.agent.sandbox.shell import Sandbox
number = dict(unshare=(272, 97), landlock_create_ruleset=(444, 444))["{stopped}"][kernel.ARCHITECTURE != "x86_64"]
kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
seccomp.install(b"".join(struct.pack("=HBBI", *word) for word in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000))))
print(asyncio.run(search.first_that_works([Sandbox("namespaces")])))
"""
    source = str(Path(search.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout.startswith("(None, 'namespaces: The command could not be confined, and was not run:")
    assert stopped in done.stdout


BOMB = """
import asyncio, sys
from pathlib import Path
from concierge.agent.sandbox.shell import Limits, Sandbox
bomb = "bomb() { bomb | bomb & }; bomb; sleep 1; echo over"
running = Sandbox(sys.argv[1], sys.argv[2]).run(bomb, folder=Path(sys.argv[3]), limits=Limits(seconds=8, processes=16))
print(asyncio.run(running))
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root escapes the usual bound")
def test_without_control_groups_a_fork_bomb_of_root_is_bounded_or_refused(sandbox: Sandbox, folder: Path) -> None:
    caller = [sys.executable, "-c", BOMB, sandbox.layer, sandbox.helper, str(folder)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /sys/fs/cgroup && exec "$0" "$@"', *caller],
        env={**os.environ, "PYTHONPATH": str(Path(search.__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    refused = "no control group can be made" in done.stderr
    assert refused or "Killed: more than 16 processes" in done.stdout or "over" in done.stdout, done.stderr
    assert refused or sandbox.layer == "namespaces"


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root needs control groups")
def test_a_control_group_goes_with_its_command(sandbox: Sandbox, folder: Path) -> None:
    said(sandbox, "true", folder)
    assert [*Path("/sys/fs/cgroup").glob("concierge-*"), *Path("/sys/fs/cgroup/pids").glob("concierge-*")] == []


# ------------------------------------------------------------------------------------------------------------ macOS


@pytest.fixture
def view(folder: Path) -> View:
    return seen(folder, invisible=(folder / "deep" / "home",), network=False)


def test_the_rules_for_macos_deny_what_they_do_not_name(view: View) -> None:
    rules = profile(view, network=False).splitlines()
    assert rules[:2] == ["(version 1)", "(deny default)"]
    assert f'(allow file-read* file-write* file-map-executable (subpath "{view.folder}"))' in rules
    assert not any("network" in rule for rule in rules)
    assert rules.index(f'(deny file-read* file-write* (subpath "{view.folder}/deep/home"))') > rules.index(
        f'(allow file-read* file-write* file-map-executable (subpath "{view.folder}"))'
    )
    assert f'(deny file-write-unlink (literal "{view.folder}/deep"))' in rules


def test_the_rules_for_macos_name_the_network_when_it_was_asked_for(view: View) -> None:
    assert "(allow network-outbound (remote ip))" in profile(view, network=True)


@pytest.mark.parametrize("check", [lambda rules: rules.count("("), lambda rules: rules.count(")")])
def test_no_name_of_a_folder_ends_a_rule_of_macos(view: View, check: Callable[[str], int]) -> None:
    rules = profile(replace(view, folder='/a") (allow default) ("'), network=False)
    assert '"/a\\") (allow default) (\\""' in rules
