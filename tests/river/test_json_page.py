"""docs/json.md against what the commands print."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from concierge.documents import SCHEMA

if TYPE_CHECKING:
    from tests.river.place import Place

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")]

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
ROWS = {
    command: set(re.findall(r"`(\w+)`", keys))
    for command, keys in re.findall(r"^\| `([^`]+)` \| (`.*) \|$", PAGE, re.MULTILINE)
}
BUNDLE = "bundle"
"""Brings engines from everywhere: where a stub stands for them, tests/river/test_state.py reads what it prints."""

SESSION = (
    "plan",
    "models",
    "engines",
    "config show",
    "config init",
    "config set api.port 0",
    "doctor",
    "doctor --capture m.json",
    "lock",
    "lock --check",
    "lock --diff",
    "trust",
    "tune --seconds 1",
    "up -c 1024",
    "up",
    "status",
    "logs",
    "verify",
    "generations",
    "rollback",
    "gc --dry-run",
    "run hello --in .",
    "runs list",
    "runs show ID",
    "runs diff ID",
    "runs undo ID",
    "down",
    "destroy --yes",
)
"""Every command that takes ``--json``, in an order in which each works."""


GIVEN = re.compile(r" (hello --in \.|hello|m\.json|ID|api\.port 0|--seconds 1|-c 1024|--dry-run|--yes)")
"""What those are given that does not change what they print."""


def told(place: Place, words: str) -> dict[str, Any]:
    code, out, err = place(*words.split(), "--json")
    # A run prints what happens in it, and its result last.
    document: dict[str, Any] = json.loads(out.splitlines()[-1] if words.startswith("run ") else out)
    assert (code, next(iter(document))) == (0, "schema"), err
    assert document.pop("schema") == SCHEMA
    return document


def test_every_command_prints_one_object_with_the_keys_of_the_page(place: Place) -> None:
    place.environ |= {"CONCIERGE_LLM_MODEL": "smollm2-135m", "CONCIERGE_RUN_MAX_TOKENS": "2000"}
    printed: dict[str, set[str]] = {}
    run_id = ""
    for words in SESSION:
        document = told(place, words.replace("ID", run_id))
        run_id = document.get("id", run_id)
        printed[GIVEN.sub("", words)] = set(document)
    assert printed == {command: keys for command, keys in ROWS.items() if command != BUNDLE}


def test_an_error_has_the_keys_of_the_page(place: Place) -> None:
    code, out, err = place("status", "extra", "--json")
    document = json.loads(out)
    table = PAGE.partition("## Errors")[2].partition("## What")[0]
    assert (code, err) == (2, "")
    assert list(document) == ["schema", *re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)]
