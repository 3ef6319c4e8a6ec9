"""Takes out of a bundle what names a person or one particular computer."""

from __future__ import annotations

import json
import re
from typing import Any

from concierge.machine.bundle import Bundle, dumps, from_json

_KEPT_WORDS = {
    "root", "user", "admin", "linux", "amd", "nvidia", "intel", "apple", "debian", "ubuntu", "nixos", "localhost",
}  # fmt: skip
"""Names that say nothing about anybody and that ordinary output holds: taking them out would spoil the facts."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "00000000-0000-0000-0000-000000000000"),
    (re.compile(r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b"), "00:00:00:00:00:00"),
    (re.compile(r"\b[0-9a-f]{32,64}\b"), "0" * 32),
    (re.compile(r"(?<=\bunique_id )\d+"), "0"),
    (re.compile(r"(?i)(\"[^\"]*serial[^\"]*\"\s*:\s*)\"[^\"]*\""), r'\1"redacted"'),
    (re.compile(r"(?i)(\"[^\"]*serial[^\"]*\"\s*:\s*)\d+"), r"\g<1>0"),
    (re.compile(r"(?i)((?:serial|hardware uuid|udid)[ \w()-]*:\s*)(?![\s\"])[^\s\",]+"), r"\1redacted"),
    (re.compile(r"(?<=\()[\w.+-]+@[\w.-]+(?=\))"), "builder@host"),
    (re.compile(r"(?<=/home/)[^/\s\":]+|(?<=/Users/)[^/\s\":]+"), "someone"),
    (re.compile(r"(?i)((?<![a-z])[a-z]:\\+users\\+)[^\\\"\s]+"), r"\1someone"),
    (re.compile(r"(?i)(PCI\\+VEN_[0-9A-F]{4}&DEV_[0-9A-F]{4}[^\\\"\s]*)\\+[^\\\"\s,]+"), r"\1"),
)


def redacted(bundle: Bundle, *, names: tuple[str, ...] = ()) -> Bundle:
    """Return the bundle without UUIDs, serial numbers, MAC addresses, home folders, and ``names`` as whole words."""
    document = json.loads(dumps(bundle))
    return from_json(_walk(document, _rules(names)))


def _rules(names: tuple[str, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    wanted = {name for name in names if len(name) > 1 and name.lower() not in _KEPT_WORDS}
    own = tuple(
        (re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", re.IGNORECASE), "someone")
        for name in sorted(wanted, key=len, reverse=True)
    )
    return own + _PATTERNS


def _walk(value: Any, rules: tuple[tuple[re.Pattern[str], str], ...]) -> Any:
    if isinstance(value, str):
        return _clean(value, rules)
    if isinstance(value, list):
        return [_walk(item, rules) for item in value]
    if isinstance(value, dict):
        secret = {key: "redacted" for key in value if re.search(r"(?i)serial|uuid", key)}
        return {_clean(key, rules): secret.get(key) or _walk(item, rules) for key, item in value.items()}
    return value


def _clean(text: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text
