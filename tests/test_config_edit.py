"""One key set in a file: nothing else in it changes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from concierge.config.edit import with_key
from concierge.errors import ConfigError

FILE = """# mine
locked = true   # always

[llm]
# the model
model = "a"  # for now
context = 4096

[run]
max_steps = 3
"""


def edited(text: str, key: str, value: Any) -> str:
    return with_key(text, tuple(key.split(".")), value, where=Path("concierge.toml"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llm.model", 'hf:o/r/"x".gguf'),
        ("llm.context", 8192),
        ("llm.temperature", 0.5),
        ("llm.local_llm_start_cmd", ["ollama", "serve"]),
        ("run.max_seconds", 60),
        ("api.port", 0),
        ("locked", False),
        ("workspace_root", "über/alles"),
    ],
)
def test_a_key_is_set_and_every_other_line_stays(key: str, value: Any) -> None:
    after = edited(FILE, key, value)
    document = tomllib.loads(after)
    for word in key.split("."):
        document = document[word]
    assert document == value
    name = key.rpartition(".")[2]
    kept = [line for line in FILE.splitlines() if line and not line.startswith(f"{name} =")]
    assert [line for line in after.splitlines() if line in kept] == kept


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ('model = "a"  # for now', "  # for now"),
        ('model = "a # b" # c', " # c"),
        ("model = 'a#b'", ""),
        ('model = "a"#tight', "#tight"),
    ],
)
def test_a_comment_behind_the_value_stays(line: str, kept: str) -> None:
    assert edited(f"[llm]\n{line}\n", "llm.model", "new") == f'[llm]\nmodel = "new"{kept}\n'


def test_lines_end_as_they_did() -> None:
    assert edited(FILE.replace("\n", "\r\n"), "llm.context", 1).count("\r\n") == FILE.count("\n")


def test_an_empty_file_gets_a_table() -> None:
    assert edited("", "llm.model", "m") == '[llm]\nmodel = "m"\n'
    assert edited("", "locked", True) == "locked = true\n"


def test_setting_the_same_again_changes_nothing() -> None:
    once = edited(FILE, "llm.model", "b")
    assert edited(once, "llm.model", "b") == once


@pytest.mark.parametrize(
    "text",
    [
        "[llm]\nlocal_llm_start_cmd = [\n  'a',\n]\n",
        "llm = { local_llm_start_cmd = ['a'] }\n",
        "llm.model = 'a'\n",
    ],
)
def test_what_cannot_be_changed_line_by_line_is_left_to_a_hand(text: str) -> None:
    with pytest.raises(ConfigError, match=r"by hand|several lines|not valid"):
        edited(text, "llm.local_llm_start_cmd", ["b"])


def test_a_file_that_is_no_toml_is_named() -> None:
    with pytest.raises(ConfigError, match=r"concierge\.toml is not valid TOML"):
        edited("[llm\n", "llm.model", "m")
