from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from concierge.agent import budget, tools, workspace
from concierge.agent.events import KINDS, Event, Status
from concierge.agent.task import Limits

DOCS = Path(__file__).parents[2] / "docs"
RUNS = (DOCS / "runs.md").read_text(encoding="utf-8")
LIMITS = (DOCS / "limits.md").read_text(encoding="utf-8")


def table_after(heading: str) -> list[str]:
    """Return the names in the first column of the first table below a heading or a sentence."""
    below = RUNS.partition(f"{heading}\n")[2]
    rows = re.search(r"\|---\|---\|\n((?:\|.*\n)+)", below)
    assert rows is not None, heading
    return re.findall(r"^\| `(\w+)` \|", rows[1], re.MULTILINE)


def own_fields(event: type[Event]) -> list[str]:
    return [item.name for item in fields(event) if item.name not in {item.name for item in fields(Event)}]


def test_every_kind_of_event_has_its_heading_in_order() -> None:
    assert re.findall(r"^### `(\w+)`$", RUNS, re.MULTILINE) == list(KINDS)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_field_of_an_event_is_described(kind: str) -> None:
    assert table_after(f"### `{kind}`") == own_fields(KINDS[kind])


def test_what_all_events_share_is_described() -> None:
    assert table_after("Every line has:") == ["ts", "id", "seq", "kind"]


def test_every_status_and_reason_is_described() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|[^|`]*)[^|]*\|", RUNS.partition("## result.json")[0], re.MULTILINE)
    assert {status for status, _ in rows} == set(get_args(Status))
    assert [reason for status, reason in rows if status == "stopped"] == list(get_args(budget.StopReason))


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("answers of the model", Limits().max_steps),
        ("tokens, read and written", Limits().max_tokens),
        ("wall time", Limits().max_seconds),
        ("malformed tool calls in a row", budget.BAD_CALLS),
        ("same call, same result, in a row", budget.SAME_CALLS),
        ("calls in one answer", tools.CALLS_PER_ANSWER),
        ("characters shown by one `read`", tools.SHOWN_CHARS),
        ("size of a file to `read`", workspace.READ_BYTES),
        ("size of a file to `write`", workspace.WRITE_BYTES),
        ("entries in a `list`", workspace.LIST_ENTRIES),
        ("folders in a path", workspace.DEPTH),
    ],
)
def test_every_bound_is_written_down_as_it_is(bound: str, value: float) -> None:
    assert re.search(rf"^\| {re.escape(bound)} \| {value:,.0f}(?: s| bytes)? \|", LIMITS, re.MULTILINE)


def test_the_estimate_is_written_down_as_it_is() -> None:
    text = " ".join(LIMITS.split())
    assert f"{budget.CHARS_PER_TOKEN} characters for each token" in text
    assert f"fewer than {budget.CAPPED_BELOW:,} tokens" in text
