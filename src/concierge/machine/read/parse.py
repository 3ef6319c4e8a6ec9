"""Reading numbers and names out of text that may be anything."""

from __future__ import annotations

import re
from typing import Any

from concierge import jsontext
from concierge.machine.types import Amount, Confidence, Vendor

VENDORS: dict[str, Vendor] = {"10de": "nvidia", "1002": "amd", "8086": "intel", "106b": "apple", "5143": "qualcomm"}
"""By PCI vendor id: a name in some tool's output never decides."""

_LARGEST = 1 << 56
"""No machine has 64 PiB: a greater number is a sentinel for "no limit" or garbage."""


def integer(value: object) -> int | None:
    """Return a whole number out of a number or text (``0x`` and blanks allowed), or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if abs(value) < _LARGEST else None
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*(-?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}))\s*", value) if isinstance(value, str) else None
    return int(match[1], 16 if "x" in match[1].lower() else 10) if match else None


def words(value: object) -> str:
    """Return text as one line with single blanks; empty for anything else."""
    return " ".join(value.split())[:200] if isinstance(value, str) else ""


def amount(value: object, source: str, *, unit: int = 1, confidence: Confidence = "high") -> Amount:
    """Return a number of bytes: 0, a negative and an absurd number are unknown and say so."""
    number = integer(value)
    if number is None:
        return Amount(None, source, reason=f"{source} gave no number") if value is not None else Amount()
    size = number * unit
    if size <= 0 or size >= _LARGEST:
        return Amount(None, source, reason=f"{source} said {number}, which means unknown")
    return Amount(size, source, confidence=confidence)


def hex_id(value: object) -> str | None:
    """Return a 16-bit PCI id as four hexadecimal digits; text is hexadecimal with or without ``0x``."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(?:0[xX])?([0-9a-fA-F]{1,8})\s*", value)
        value = int(match[1], 16) if match else None
    number = integer(value)
    return f"{number:04x}" if number is not None and 0 < number <= 0xFFFF else None


def pci_id(vendor_id: str | None, device: object) -> str | None:
    """Return ``vendor:device``; None where either is not known."""
    device_id = hex_id(device)
    return f"{vendor_id}:{device_id}" if vendor_id and device_id else None


def pci_address(value: object) -> str | None:
    """Return a PCI address as Linux writes it, from any of the ways that tools do."""
    pattern = r"\s*(?:PCI:)?(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.([0-7]))?\s*"
    match = re.fullmatch(pattern, value) if isinstance(value, str) else None
    if match is None:
        return None
    domain = int(match[1] or "0", 16) & 0xFFFF_FFFF
    return f"{domain:04x}:{match[2]}:{match[3]}.{match[4] or '0'}".lower()


def fields(text: str, separator: str = ":") -> dict[str, str]:
    """Return the ``name: value`` lines of a text; the first of a name wins."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, mark, value = line.partition(separator)
        if mark and name.strip():
            found.setdefault(name.strip(), value.strip())
    return found


def found(text: str, pattern: str) -> str:
    """Return the first group of the first match, or nothing."""
    match = re.search(pattern, text)
    return match[1].strip() if match and match[1] else ""


def json_records(text: str, key: str) -> list[dict[str, Any]]:
    """Return the objects under ``key`` of a JSON text, be it one object or a list of them."""
    document = jsontext.parse_object(text)
    value = None if document is None else document.get(key)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]
