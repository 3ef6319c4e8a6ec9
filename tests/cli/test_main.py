from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge import __version__
from concierge.cli.main import app, run
from concierge.errors import ConciergeError
from tests.server.peer import peer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.peer import Said


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    # Where a package is tested before it is installed, the program itself is found through PYTHONPATH.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": str(tmp_path / "home"), "CONCIERGE_HOME": str(tmp_path / "state")}


def concierge(
    *arguments: str, environ: dict[str, str], folder: Path, feed: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "concierge", *arguments],
        env=environ,
        cwd=folder,
        input=feed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file()}


def test_the_version_goes_to_stdout(environ: dict[str, str], tmp_path: Path) -> None:
    done = concierge("--version", environ=environ, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"concierge {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["rum", "x"],
        ["run", "--modle", "x", "y"],
        ["run", "--context", "many", "x"],
        ["run", " "],
        ["run", "--context", "1", "x"],
        ["status", "extra"],
        ["runs"],
        ["up", "--engine", "lamacpp"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2_and_one_hint(
    environ: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    done = concierge(*arguments, environ=environ, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert files(tmp_path) == set()


def test_an_error_is_an_object_on_stdout_for_programs(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "concierge.toml").write_text("[llm]\nmodle = 'x'\n")
    done = concierge("status", "--json", environ=environ, folder=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)
    assert (error["error"], error["exit_code"]) == ("ConfigError", 2)
    assert "llm.modle" in error["what"]


@pytest.mark.parametrize("arguments", [["rum", "x"], ["run", "--modle", "x", "y"], ["status", "extra"]], ids=" ".join)
def test_a_wrong_command_line_is_an_object_as_well(
    environ: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    done = concierge(*arguments, "--json", environ=environ, folder=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (2, "")
    assert (told["schema"], told["error"], told["exit_code"]) == (1, "UsageError", 2)
    assert "--help" in told["hint"]


def test_a_word_of_the_task_asks_for_no_json(environ: dict[str, str], tmp_path: Path) -> None:
    done = concierge("run", "--context", "1", "--", "--json", environ=environ, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_fault_of_ours_is_an_object_that_asks_to_be_reported(capsys: pytest.CaptureFixture[str]) -> None:
    def program(*_: object, **__: object) -> None:
        raise KeyError("nothing")

    assert run(["status", "--json"], program=program) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["error"], told["exit_code"]) == (1, "InternalError", 1)
    assert "CONCIERGE_DEBUG" in told["hint"]


def test_status_and_down_on_a_fresh_machine_create_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    environ["OLLAMA_HOST"] = "127.0.0.1:9"
    status = concierge("status", "--json", environ=environ, folder=tmp_path)
    down = concierge("down", "--json", environ=environ, folder=tmp_path)
    assert (status.returncode, down.returncode) == (5, 0)
    assert json.loads(status.stdout)["state"] == "absent"
    assert json.loads(down.stdout) == {"schema": 1, "stopped": None}
    assert list(tmp_path.iterdir()) == []


def test_a_remote_server_that_is_away_is_told_and_nothing_is_started(environ: dict[str, str], tmp_path: Path) -> None:
    # A name that is reserved never to resolve: not this machine, and nobody else either.
    environ |= {"CONCIERGE_LLM_BASE_URL": "http://llm.invalid:9/v1", "CONCIERGE_LLM_CONNECT_TIMEOUT_S": "0.2"}
    done = concierge("run", "--model", "m", "--max-seconds", "8", "hello", environ=environ, folder=tmp_path)
    assert done.returncode == 5
    assert done.stdout == ""
    assert "llm.invalid" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_model_must_be_named_for_a_server_that_is_not_ours(environ: dict[str, str], tmp_path: Path) -> None:
    environ["CONCIERGE_LLM_BASE_URL"] = "http://llm.invalid:9/v1"
    done = concierge("run", "hello", environ=environ, folder=tmp_path)
    assert done.returncode == 2
    assert "llm.model" in done.stderr


def test_runs_of_an_empty_folder_are_none_and_an_unknown_one_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    listed = concierge("runs", "list", "--json", environ=environ, folder=tmp_path)
    shown = concierge("runs", "show", "nope", environ=environ, folder=tmp_path)
    assert (listed.returncode, json.loads(listed.stdout)) == (0, {"schema": 1, "runs": []})
    assert shown.returncode == 1
    assert "nope" in shown.stderr


def test_config_init_writes_a_file_that_holds_and_never_overwrites(environ: dict[str, str], tmp_path: Path) -> None:
    first = concierge("config", "init", environ=environ, folder=tmp_path)
    second = concierge("config", "init", environ=environ, folder=tmp_path)
    shown = concierge("config", "show", "--json", environ=environ, folder=tmp_path)
    assert (first.returncode, second.returncode, shown.returncode) == (0, 2, 0)
    assert {row["place"] for row in json.loads(shown.stdout)["keys"]} == {"default"}


def test_a_reader_that_goes_away_is_no_traceback(environ: dict[str, str], tmp_path: Path) -> None:
    command = f"{sys.executable} -m concierge config show | true"
    done = subprocess.run(
        command, shell=True, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")  # noqa: PTH110
@pytest.mark.parametrize(
    ("streams", "code"), [(">&-", 0), ("2>&-", 0), ("2>/dev/full", 0), (">/dev/full", 1), (">&- 2>&-", 0)]
)
def test_a_stream_that_takes_nothing_changes_nothing_but_what_is_printed(
    environ: dict[str, str], tmp_path: Path, streams: str, code: int
) -> None:
    def code_of(command: str) -> tuple[int, str]:
        words = f"{sys.executable} -m concierge {command} {streams}"
        done = subprocess.run(
            words, shell=True, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stderr

    assert code_of("config init")[0] == 0
    shown, told = code_of("config show")
    assert shown == code
    assert "bug" not in told
    assert ("standard output" in told) == (code == 1)


def test_help_names_every_command_and_the_exit_codes(environ: dict[str, str], tmp_path: Path) -> None:
    done = concierge("--help", environ=environ, folder=tmp_path)
    assert done.returncode == 0
    _, _, rest = done.stdout.partition("\nCommands:\n")
    listed, _, codes = rest.partition("\n\n")
    commands = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert {line.split()[0] for line in listed.splitlines()} == commands
    assert {int(code) for code in re.findall(r"\b\d+\b", codes)} == {0, *exit_codes(ConciergeError)}


def exit_codes(kind: type[ConciergeError]) -> set[int]:
    return {kind.exit_code}.union(*map(exit_codes, kind.__subclasses__()))


def test_an_open_address_without_a_token_is_refused_before_anything_is_fetched(
    environ: dict[str, str], tmp_path: Path
) -> None:
    done = concierge("serve", "--host", "0.0.0.0", environ=environ, folder=tmp_path)
    assert done.returncode == 2
    assert "api.token" in done.stderr
    assert files(tmp_path) == set()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everywhere")
@pytest.mark.parametrize("command", ["up", "status", "down", "plan"])
def test_a_home_that_cannot_be_read_is_a_sentence(environ: dict[str, str], tmp_path: Path, command: str) -> None:
    (tmp_path / "state").mkdir(mode=0)
    environ["CONCIERGE_LLM_MODEL"] = "smollm2-135m"
    done = concierge(command, environ=environ, folder=tmp_path)
    assert done.returncode in (4, 5)
    assert "bug" not in done.stderr
    assert str(tmp_path / "state") in done.stderr


def test_status_pays_for_no_library_that_it_does_not_need(environ: dict[str, str], tmp_path: Path) -> None:
    environ["PYTHONPROFILEIMPORTTIME"] = "1"
    imported = concierge("status", environ=environ, folder=tmp_path).stderr
    assert "concierge.server.status" in imported
    assert [name for name in ("pydantic", "httpx", "psutil", "rich", "asyncio") if f" {name}\n" in imported] == []


@pytest.mark.skipif(os.name != "posix", reason="pipes are looked at on POSIX")
@pytest.mark.parametrize(
    ("piped", "sent", "said"),
    [
        ("line one\n", "explain\n\nline one\n", "9 characters from standard input belong to the task."),
        ("", "explain", ""),
        ("  \n", "explain", ""),
        (None, "explain", "Nothing came from standard input within 1 s: it is left aside."),
    ],
    ids=["text", "nothing", "blanks", "a pipe in which nothing ever comes"],
)
def test_what_is_piped_in_beside_a_task_belongs_to_it_or_is_said_to_be_left_aside(
    environ: dict[str, str], tmp_path: Path, piped: str | None, sent: str, said: str
) -> None:
    with peer(lambda line, _: (200, {"data": [{"id": "m"}]}) if "GET" in line else (400, {"error": "seen"})) as server:
        words = [sys.executable, "-m", "concierge", "run", "--base-url", server.base_url, "explain"]
        with subprocess.Popen(
            words, env=environ, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            if piped is None:
                assert run.wait(timeout=30) == 1
                assert run.stderr is not None
                told = run.stderr.read()
            else:
                told = run.communicate(piped, timeout=30)[1]
        assert said in told
        assert ("standard input" in told) is bool(said)
        assert server.bodies[-1]["messages"][-1]["content"] == sent


def test_more_than_a_task_may_be_is_not_taken_from_a_pipe(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * 200_001)
    words = [sys.executable, "-m", "concierge", "run", "explain"]
    with (tmp_path / "large").open() as large:
        done = subprocess.run(words, env=environ, cwd=tmp_path, stdin=large, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "200,000 characters" in done.stderr


def test_tools_that_a_server_refuses_are_said_and_neither_sent_nor_taught_again(
    environ: dict[str, str], tmp_path: Path
) -> None:
    refused: Said = (400, {"error": {"message": "this model does not support tools"}})
    piece = {"choices": [{"index": 0, "delta": {"content": "Paris."}, "finish_reason": "stop"}]}
    answer: Said = (200, f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n".encode())
    with peer(lambda line, _: (200, {"data": [{"id": "m"}]}) if "GET" in line else [refused, answer]) as server:
        native = {**environ, "CONCIERGE_LLM_PROTOCOL": "native"}
        done = concierge("run", "--base-url", server.base_url, "hi", environ=native, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Paris.\n")
    assert "The server takes no tools for this model" in done.stderr
    first, second = server.bodies
    assert "tools" in first
    assert "tools" not in second
    *taught, asked = second["messages"]
    assert asked == {"role": "user", "content": "hi"}
    assert [said["role"] for said in taught][:1] == ["system"] * ("with shell commands" in done.stderr)
