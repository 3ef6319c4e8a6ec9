"""docs/exit-codes.md against the tree of errors and against the program: each code by its cause."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from concierge import errors
from concierge.errors import ConciergeError

PAGE = (Path(__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
CODES = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}


def program(*words: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    known = {**kept, "HOME": str(folder), "OLLAMA_HOST": "127.0.0.1:9", **environ}
    command = [sys.executable, "-m", "concierge", *words]
    return subprocess.run(command, env=known, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_page_names_every_code_that_an_error_has_and_no_other() -> None:
    tree = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ConciergeError)]
    assert {error.exit_code for error in tree} | {0} == CODES


NO_NETWORK = {"PIP_NO_INDEX": "1", "HTTPS_PROXY": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("code", "words", "environ"),
    [
        (0, "config show", {}),
        (1, "runs show nothing", {}),
        (2, "plan --context many", {}),
        (2, "config show", {"CONCIERGE_LLM_CONTEXT": "many"}),
        (3, "plan --model nobody-knows-this", {}),
        (4, "up --model smollm2-135m", NO_NETWORK),
        (4, "lock --model hf:o/r/f.gguf@0123456789012345678901234567890123456789", NO_NETWORK),
        (5, "up --base-url http://127.0.0.1:9/v1 --model m", {}),
        (5, "run --base-url http://llm.invalid/v1 --model m hi", {"CONCIERGE_LLM_CONNECT_TIMEOUT_S": "0.2"}),
        (5, "status", {}),
    ],
)
def test_the_code_is_that_of_the_cause(code: int, words: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = program(*words.split(), folder=tmp_path, **environ)
    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no full device")
@pytest.mark.parametrize("words", ["--version", "--help", "plan --help", "status", "status --json", "config show"])
@pytest.mark.parametrize("output", ["/dev/full", "&-"])
def test_an_output_that_takes_nothing_is_said_and_never_a_120(words: str, output: str, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m concierge {words} >{output}"
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OLLAMA_HOST": "127.0.0.1:9"}
    done = subprocess.run(
        ["sh", "-c", command], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    closed = output == "&-"
    assert done.returncode in ({0, 5} if closed else {1})
    assert "Traceback" not in done.stderr
    assert closed or "Cannot print to standard output" in done.stderr
