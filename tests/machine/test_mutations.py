"""Whatever a computer says, garbled or cut short or in another language, the answer is a ``Machine``."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concierge.machine.budget import budget
from concierge.machine.bundle import dumps, from_json, load
from concierge.machine.read.machine import read
from concierge.machine.report import describe, describe_finding
from concierge.machine.types import Machine
from concierge.platforms import ACCELERATORS

CORPUS = Path(__file__).parent.parent / "machines"
DOCUMENTS = [pickle.dumps(json.loads(dumps(load(folder)))) for folder in sorted(CORPUS.iterdir()) if folder.is_dir()]
SECTIONS = ("files", "commands", "links", "listings", "access", "libraries", "answers", "platform", "environment")

GARBAGE: list[Any] = [
    "", "\0", "\ufffd\ufffd", "nan", "-1", "0", "0x", "1e400", "9" * 400, "N/A", "[Not Supported]", "::::", "{", "[]",
    "MemTotal: viel kB", "permission denied", "\n" * 50, "a b c " * 200, "0x0300", "ffff:ff:1f.7",
]  # fmt: skip
WRONG: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, 10**300, -(10**30), 1.5, float("inf"), float("nan"), [], {}, [[]],
    [None, 1, {}], {"devices": 3}, {"devices": [None, "x", {"name": 5, "heaps": "many"}]}, {"adapters": {"0": []}},
]  # fmt: skip
TRANSLATED = {
    "MemTotal": "Speicher gesamt",
    "Unknown Error": "Erreur inconnue",
    "MiB": "Мио",
    "Name:": "Nom :",
    "not found": "não encontrado",
    "Available devices": "利用可能なデバイス",
    "processor": "processeur",
}

KINDS = ("drop", "garbage", "cut", "comma", "translate", "refuse", "wrong", "deep")


def wrong(pick: int) -> Any:
    """Return a wrong value of its own: a later mutation may spoil it further."""
    return copy.deepcopy(WRONG[pick % len(WRONG)])


def text_of(value: Any) -> str:
    return "\n".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else str(value)


def reworded(kind: str, text: str, pick: int) -> str:
    if kind == "garbage":
        return str(GARBAGE[pick % len(GARBAGE)])
    if kind == "cut":
        return text[: pick % (len(text) + 1)]
    if kind == "comma":
        return text.replace(".", ",")
    for word, other in TRANSLATED.items():
        text = text.replace(word, other)
    return text


def spoil_deeply(value: Any, pick: int) -> Any:
    """Replace one value somewhere inside an answer."""
    for step in range(8):
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys:
            return value
        key = keys[(pick >> step) % len(keys)]
        if not isinstance(value[key], dict | list) or step == 7:
            value[key] = wrong(pick) if pick % 2 else GARBAGE[pick % len(GARBAGE)]
            return value
        value = value[key]
    return value


def mutate(document: dict[str, Any], seed: int) -> None:
    """Spoil one entry; one number says how, since drawing four would cost more than reading the bundle."""
    rest, at = divmod(seed, len(KINDS))
    rest, section_at = divmod(rest, len(SECTIONS))
    pick, where = divmod(rest, 64)
    kind, section = KINDS[at], SECTIONS[section_at]
    entries = document.get(section)
    if not isinstance(entries, dict) or not entries:
        document[section] = wrong(pick)
        return
    key = list(entries)[where % len(entries)]
    if kind in ("drop", "refuse"):
        entries.pop(key)
        if kind == "refuse":
            unreadable = document.setdefault("unreadable", {})
            if isinstance(unreadable, dict):
                unreadable[key] = "Permission denied"
    elif kind == "wrong":
        entries[key] = wrong(pick)
    elif section == "commands" and isinstance(entries[key], dict):
        entries[key]["stdout"] = reworded(kind, text_of(entries[key].get("stdout", "")), pick)
        entries[key]["exit"] = wrong(pick) if kind == "deep" else entries[key].get("exit")
    elif kind == "deep" or isinstance(entries[key], dict):
        spoil_deeply(entries, pick)
    else:
        entries[key] = reworded(kind, text_of(entries[key]), pick)


@settings(max_examples=2000, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(which=st.integers(0, len(DOCUMENTS) - 1), seeds=st.lists(st.integers(0, 1 << 32), min_size=1, max_size=6))
def test_any_mutated_bundle_still_gives_a_machine(which: int, seeds: list[int]) -> None:
    document = pickle.loads(DOCUMENTS[which])
    for seed in seeds:
        mutate(document, seed)
    machine = read(from_json(document))
    assert isinstance(machine, Machine)
    assert "cpu" in machine.usable_accelerators
    assert len({device.id for device in machine.devices}) == len(machine.devices)
    for accelerator in ACCELERATORS:
        found = budget(machine, accelerator)
        assert found.reason
        assert found.bytes is None or found.bytes >= 0
    assert describe(machine)
    assert all(describe_finding(finding) for finding in machine.findings)
    assert json.dumps(machine.as_dict())


JUNK = st.recursive(
    st.none() | st.integers() | st.floats() | st.sampled_from(GARBAGE),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(SECTIONS), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(JUNK)
def test_any_json_at_all_still_gives_a_machine(document: object) -> None:
    assert isinstance(read(from_json(document)), Machine)
