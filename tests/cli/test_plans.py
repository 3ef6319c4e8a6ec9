"""What a person at the command line sees of the machine, the plan and the lock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.wait import gone, until

CORPUS = Path(__file__).parent.parent / "machines"
TWO_CARDS = CORPUS / "32-cudart-missing"
COMMIT = "9" * 40


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    # Where a package is tested before it is installed, the program itself is found through PYTHONPATH.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    # A port where nothing listens: whatever runs on this machine, nothing is adopted.
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "CONCIERGE_HOME": str(tmp_path / "state"),
        "OLLAMA_HOST": "127.0.0.1:9",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


def concierge(*arguments: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "concierge", *arguments],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "has a bug" not in done.stderr
    return done


def test_a_plan_shows_signs_reasons_and_the_sum_of_bytes_and_time(environ: dict[str, str], folder: Path) -> None:
    done = concierge("plan", "--model", "smollm2-135m", environ=environ, folder=folder)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line[2] for line in lines[:3]] == ["+", "+", "+"]
    assert {"Why:", "Not taken:"} <= set(lines)
    assert lines[-1].startswith("Plan: 3 to create. ")
    assert "to fetch, about " in lines[-1]
    assert "of disk needed." in lines[-1]
    assert list(folder.iterdir()) == []
    assert not (folder.parent / "state").exists()


def test_a_plan_is_the_same_as_data(environ: dict[str, str], folder: Path) -> None:
    done = concierge("plan", "--machine", str(TWO_CARDS), "--json", environ=environ, folder=folder)
    plan = json.loads(done.stdout)
    assert (done.returncode, plan["accelerator"], plan["would_change"]) == (0, "cuda", True)
    assert plan["fetch_bytes"] == sum(change["bytes"] for change in plan["changes"])
    assert all(entry["reason"] and entry["cause"] for entry in plan["rejected"])


@pytest.mark.parametrize(
    ("machine", "code"), [("32-cudart-missing", 1), ("33-musl", 3)], ids=["it would change something", "nothing suits"]
)
def test_the_exit_code_of_a_plan_says_what_it_found(
    environ: dict[str, str], folder: Path, machine: str, code: int
) -> None:
    done = concierge("plan", "--exit-code", "--machine", str(CORPUS / machine), environ=environ, folder=folder)
    assert done.returncode == code


def test_a_plan_for_a_server_that_is_used_as_it_is_changes_nothing(environ: dict[str, str], folder: Path) -> None:
    environ["CONCIERGE_LLM_BASE_URL"] = "https://llm.invalid/v1"
    done = concierge("plan", "--exit-code", "--engine", "remote", "--model", "m", environ=environ, folder=folder)
    assert (done.returncode, done.stdout[2]) == (0, "=")
    assert done.stdout.endswith("Nothing to change.\n")


def test_a_captured_machine_gets_the_same_plan_and_the_same_doctor(environ: dict[str, str], folder: Path) -> None:
    captured = concierge("doctor", "--capture", "m.json", "--json", environ=environ, folder=folder)
    assert (captured.returncode, json.loads(captured.stdout)) == (0, {"schema": 1, "written": "m.json"})
    here, there = (
        json.loads(concierge("plan", "--json", *more, environ=environ, folder=folder).stdout)
        for more in ((), ("--machine", "m.json"))
    )
    assert (here["build"], here["model"]) == (there["build"], there["model"])
    doctor = concierge("doctor", "--machine", "m.json", environ=environ, folder=folder)
    assert doctor.stdout.startswith("system    ")
    (folder / "case").mkdir()
    (folder / "m.json").rename(folder / "case" / "bundle.json")
    assert concierge("plan", "--machine", "case", environ=environ, folder=folder).returncode == 0


@pytest.mark.parametrize("place", ["none/m.json", "."])
def test_a_capture_that_cannot_be_written_is_one_sentence(environ: dict[str, str], folder: Path, place: str) -> None:
    done = concierge("doctor", "--capture", place, environ=environ, folder=folder)
    assert done.returncode == 2
    assert "Cannot write" in done.stderr
    assert "CONCIERGE_HOME" not in done.stderr


def test_a_capture_is_of_this_machine_only(environ: dict[str, str], folder: Path) -> None:
    done = concierge("doctor", "--capture", "m.json", "--machine", str(TWO_CARDS), environ=environ, folder=folder)
    assert done.returncode == 2
    assert list(folder.iterdir()) == []


def test_doctor_tells_each_finding_once_and_ends_with_1_for_an_error(environ: dict[str, str], folder: Path) -> None:
    wrong = CORPUS / "linux-amd-not-in-render-group"
    done = concierge("doctor", "--machine", str(wrong), environ=environ, folder=folder)
    assert done.returncode == 1
    for name in ("kfd-permission", "render-permission", "cpu-fallback"):
        assert done.stdout.count(f" {name}: ") == 1
    told = json.loads(concierge("doctor", "--machine", str(wrong), "--json", environ=environ, folder=folder).stdout)
    assert {"id", "severity", "cause", "evidence", "fix"} <= told["findings"][0].keys()
    assert concierge("doctor", environ=environ, folder=folder).stdout.startswith("system ")


@pytest.mark.parametrize(
    "config",
    ["locked = true", f'[llm]\nmodel = "hf:o/r/m.gguf@{COMMIT}"', '[llm]\nmodel = "hf:o/r/m.gguf@main"'],
    ids=["no lock", "no network", "a reference that moves"],
)
def test_doctor_knows_the_machine_even_where_no_plan_can_be_made(
    environ: dict[str, str], folder: Path, config: str
) -> None:
    environ |= {"HF_ENDPOINT": "https://127.0.0.1:9"}
    (folder / "concierge.toml").write_text(config)
    done = concierge("doctor", environ=environ, folder=folder)
    assert done.returncode == 1
    assert done.stdout.startswith("system    ")
    assert "no-plan: " in done.stdout


def test_doctor_of_another_machine_says_nothing_of_this_one_s_disk(environ: dict[str, str], folder: Path) -> None:
    (folder / "m.json").write_text((CORPUS / "32-cudart-missing" / "bundle.json").read_text())
    environ["CONCIERGE_HOME"] = "/proc/none"
    done = concierge("plan", "--machine", "m.json", environ=environ, folder=folder)
    assert done.returncode == 0
    told = json.loads(concierge("doctor", "--machine", "m.json", "--json", environ=environ, folder=folder).stdout)
    assert "disk-full" not in {finding["id"] for finding in told["findings"]}


def test_models_and_engines_list_the_whole_catalogue_whatever_is_configured(
    environ: dict[str, str], folder: Path
) -> None:
    environ |= {"HF_ENDPOINT": "https://127.0.0.1:9"}
    concierge("lock", "--model", "smollm2-135m", environ=environ, folder=folder)
    all_of_them = json.loads(concierge("models", "--json", environ=environ, folder=folder).stdout)["models"]
    assert len(all_of_them) > 10
    assert all(row["fits"] or row["reason"] for row in all_of_them)
    (folder / "concierge.toml").write_text(f'[llm]\nmodel = "hf:o/r/m.gguf@{COMMIT}"')
    assert json.loads(concierge("models", "--json", environ=environ, folder=folder).stdout)["models"] == all_of_them
    engines = json.loads(concierge("engines", "--json", environ=environ, folder=folder).stdout)["engines"]
    assert {"cpu", "vulkan"} <= {row["accelerator"] for row in engines}


def test_with_locked_models_and_engines_are_the_lock_s(environ: dict[str, str], folder: Path) -> None:
    (folder / "concierge.toml").write_text('[llm]\nmodel = "smollm2-135m"\naccelerator = "cpu"\n')
    assert concierge("lock", environ=environ, folder=folder).returncode == 0
    models = json.loads(concierge("models", "--locked", "--json", environ=environ, folder=folder).stdout)["models"]
    engines = json.loads(concierge("engines", "--locked", "--json", environ=environ, folder=folder).stdout)["engines"]
    assert [row["name"] for row in models] == ["smollm2-135m"]
    assert {row["accelerator"] for row in engines} == {"cpu"}


def test_a_lock_is_written_once_and_is_the_same_for_every_hash_seed(environ: dict[str, str], folder: Path) -> None:
    texts = set()
    for seed in ("0", "1", "4242"):
        environ["PYTHONHASHSEED"] = seed
        (folder / "concierge.lock").unlink(missing_ok=True)
        assert "Wrote concierge.lock." in concierge("lock", environ=environ, folder=folder).stderr
        texts.add((folder / "concierge.lock").read_bytes())
    assert len(texts) == 1
    assert "is current" in concierge("lock", environ=environ, folder=folder).stderr
    checked = concierge("lock", "--check", environ=environ, folder=folder)
    assert (checked.returncode, checked.stdout) == (0, "")
    assert [file.name for file in folder.iterdir()] == ["concierge.lock"]


def test_what_a_lock_would_change_is_told_before_and_while_it_is_written(environ: dict[str, str], folder: Path) -> None:
    concierge("lock", "--model", "smollm2-135m", environ=environ, folder=folder)
    before = (folder / "concierge.lock").read_bytes()
    words = ("lock", "--model", "qwen2.5-coder-0.5b")
    told = concierge(*words, "--diff", environ=environ, folder=folder)
    assert told.returncode == 0
    assert "llm.model: smollm2-135m → qwen2.5-coder-0.5b" in told.stdout
    assert "→ nothing" in told.stdout
    assert (folder / "concierge.lock").read_bytes() == before
    alone = concierge(*words, "--upgrade", "llama-cpp", environ=environ, folder=folder)
    assert (alone.returncode, "is not for this configuration" in alone.stderr) == (2, True)
    same = concierge("lock", "--model", "smollm2-135m", "--upgrade", "llama-cpp", environ=environ, folder=folder)
    assert (same.returncode, "is current" in same.stderr) == (0, True)
    written = concierge(*words, environ=environ, folder=folder)
    assert "Its digest: " in written.stderr
    assert concierge(*words, "--diff", environ=environ, folder=folder).stdout == ""


def test_a_stale_lock_is_told_with_its_reasons_and_left_as_it_is(environ: dict[str, str], folder: Path) -> None:
    concierge("lock", environ=environ, folder=folder)
    before = (folder / "concierge.lock").read_bytes()
    (folder / "concierge.toml").write_text("[llm]\ncontext = 4096\n")
    checked = concierge("lock", "--check", "--json", environ=environ, folder=folder)
    told = json.loads(checked.stdout)
    assert (checked.returncode, told["current"]) == (1, False)
    assert [(entry["what"], entry["kind"]) for entry in told["differences"]] == [("llm.context", "config")]
    plain = concierge("lock", "--check", environ=environ, folder=folder)
    assert plain.stdout == "llm.context: locked for auto, configured 4096\n"
    assert concierge("plan", environ=environ, folder=folder).returncode == 0
    assert (folder / "concierge.lock").read_bytes() == before


@pytest.mark.parametrize("command", ["plan", "up", "doctor", "models", "engines", "run", "serve"])
def test_locked_uses_nothing_but_the_lock(environ: dict[str, str], folder: Path, command: str) -> None:
    task = ["hello"] if command == "run" else []
    missing = concierge(command, "--locked", *task, environ=environ, folder=folder)
    concierge("lock", "--model", "smollm2-135m", environ=environ, folder=folder)
    other = concierge(command, "--locked", *task, environ=environ, folder=folder)
    for done, words in ((missing, "There is no "), (other, "is not for this configuration")):
        assert words in done.stderr + done.stdout
        assert done.returncode == (1 if command == "doctor" else 2)
    assert not (folder.parent / "state" / "store").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"<<<<<<< HEAD\n", b"schema = 9\n", b"schema = 1\nx = 2020-01-01\n", b"a = " + b"[" * 3000],
    ids=["empty", "binary", "conflict", "schema", "date", "deep"],
)
def test_a_garbled_lock_is_one_sentence_and_lock_writes_it_again(
    environ: dict[str, str], folder: Path, content: bytes
) -> None:
    file = folder / "concierge.lock"
    file.write_bytes(content)
    for arguments in (["plan"], ["plan", "--locked"], ["lock", "--check"]):
        done = concierge(*arguments, environ=environ, folder=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 2
    assert concierge("lock", environ=environ, folder=folder).returncode == 0
    assert concierge("lock", "--check", environ=environ, folder=folder).returncode == 0


def test_a_lock_that_cannot_be_written_leaves_nothing_behind(environ: dict[str, str], folder: Path) -> None:
    (folder / "concierge.lock").mkdir()
    done = concierge("lock", environ=environ, folder=folder)
    assert done.returncode == 2
    assert "Cannot write" in done.stderr
    assert [file.name for file in folder.iterdir()] == ["concierge.lock"]


@pytest.mark.parametrize("revision", ["@main", "@latest", "@v1.0", "@abc1234", ""])
def test_a_reference_that_moves_is_refused_everywhere(environ: dict[str, str], folder: Path, revision: str) -> None:
    for command in ("lock", "plan", "up"):
        done = concierge(command, "--model", f"hf:o/r/m.gguf{revision}", environ=environ, folder=folder)
        assert done.returncode == 2
        assert "40 hexadecimal digits" in done.stderr
    assert list(folder.iterdir()) == []


def test_a_name_that_nothing_knows_is_told_when_it_is_locked(environ: dict[str, str], folder: Path) -> None:
    done = concierge("lock", "--model", "qwen3.5-4c", environ=environ, folder=folder)
    assert "Nothing to pin" in done.stderr
    (folder / "concierge.lock").unlink()
    planned = concierge("plan", "--model", "qwen3.5-4c", environ=environ, folder=folder)
    assert planned.returncode == 3
    assert "Did you mean `qwen3.5-4b`?" in planned.stderr


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 2), (b"\xff\x00", 2), (b"[]", 2), (b'{"format": 2}', 2), (b'{"format": 1}', 3)]
)
def test_a_file_that_is_no_bundle_is_one_sentence(
    environ: dict[str, str], folder: Path, content: bytes, code: int
) -> None:
    (folder / "b.json").write_bytes(content)
    done = concierge("plan", "--machine", "b.json", environ=environ, folder=folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 2)
    doctor = concierge("doctor", "--machine", "b.json", environ=environ, folder=folder)
    assert doctor.returncode == (1 if code == 3 else 2)
    assert concierge("engines", "--machine", "b.json", environ=environ, folder=folder).returncode in (0, 2)


def test_the_first_up_of_a_project_writes_its_lock_before_anything_else(environ: dict[str, str], folder: Path) -> None:
    (folder / "concierge.toml").write_text('[llm]\nmodel = "qwen3.5-397b-a17b"\nengine = "llama-cpp"\n')
    # No memory of any machine holds this context, so that nothing is fetched.
    done = concierge("up", "--context", "200000", environ=environ, folder=folder)
    assert done.returncode == 3
    assert "this command asks for something else (llm.context: locked for auto, configured 200000)" in done.stderr
    assert "`concierge lock` renews it" not in done.stderr
    assert concierge("lock", "--check", environ=environ, folder=folder).returncode == 0
    other = folder / "other"
    other.mkdir()
    concierge("up", "--model", "qwen3.5-397b-a17b", "--context", "200000", environ=environ, folder=other)
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "models", "engines", "doctor"])
def test_a_reader_that_goes_away_is_no_noise(environ: dict[str, str], folder: Path, command: str) -> None:
    line = f"{sys.executable} -m concierge {command} | true"
    done = subprocess.run(line, shell=True, env=environ, cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""


@pytest.mark.skipif(sys.platform != "linux", reason="nvidia-smi is looked for so on Linux")
def test_ctrl_c_while_a_tool_hangs_ends_with_130_and_takes_the_tool_along(
    environ: dict[str, str], folder: Path
) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho $$ > pid.new && mv pid.new pid\nexec sleep 60\n")
    tool.chmod(0o755)
    environ["PATH"] = f"{folder}:{environ['PATH']}"
    command = [sys.executable, "-m", "concierge", "doctor"]
    with subprocess.Popen(command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        until((folder / "pid").exists)
        hanging = psutil.Process(int((folder / "pid").read_text()))
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=20)
    assert child.returncode == 130
    assert b"Traceback" not in stderr
    until(lambda: gone(hanging))


def test_the_lists_and_the_plan_say_the_same_of_what_is_fetched(environ: dict[str, str], folder: Path) -> None:
    plan = json.loads(concierge("plan", "-m", "smollm2-135m", "--json", environ=environ, folder=folder).stdout)
    models = json.loads(concierge("models", "--json", environ=environ, folder=folder).stdout)["models"]
    engines = json.loads(concierge("engines", "--json", environ=environ, folder=folder).stdout)["engines"]
    listed = [row["size"] for row in engines if row["name"] == plan["build"]]
    listed += [row["size"] for row in models if row["name"] == plan["model"]]
    assert listed == [change["bytes"] for change in plan["changes"][:2]]
