"""``concierge lock``, ``logs`` and ``config show``, in the process of the tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from concierge.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CONCIERGE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CONCIERGE_LLM_MODEL", "smollm2-135m")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_lock_is_written_compared_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "lock", "--diff")[0] == 2
    assert told(capsys, "lock") == (0, {"schema": 1, "written": "concierge.lock"})
    assert told(capsys, "lock", "--diff") == (0, {"schema": 1, "differences": []})
    assert told(capsys, "lock", "--check")[1]["current"] is True
    assert told(capsys, "lock", "--upgrade", "llama-cpp")[0] == 0
    code, document = told(capsys, "lock", "--diff", "--model", "qwen2.5-coder-0.5b")
    assert (code, document["differences"][0]["what"]) == (0, "llm.model")
    assert run(["lock", "--diff", "--model", "qwen2.5-coder-0.5b"]) == 0
    assert "llm.model: smollm2-135m → qwen2.5-coder-0.5b" in capsys.readouterr().out
    assert told(capsys, "lock", "--check", "--diff")[0] == 2


def test_where_nothing_was_started_there_is_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    code, document = told(capsys, "logs")
    assert (code, document["error"]) == (5, "ServerError")
    assert told(capsys, "logs", "--follow")[0] == 2


def test_what_holds_is_shown_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {row["key"]: row for row in told(capsys, "config", "show")[1]["keys"]}
    assert (keys["llm.model"]["value"], keys["llm.model"]["place"]) == ("smollm2-135m", "CONCIERGE_LLM_MODEL")
    assert run(["config", "show"]) == 0
    assert "llm.model" in capsys.readouterr().out
