"""How many tokens a second to expect: a range with where it comes from, and no claim where the memory is unknown.

One token costs one reading of the weights it passes and of the cache behind it, so its time is bytes ÷ bandwidth of the
memory that holds them. The reasons for the constants are in docs/fit.md.
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from concierge.fit.memory import kv_read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.catalog.types import Gguf

Source = Literal["table", "class", "unknown"]
"""Best first: the vendor's figure for the device, the usual figures for its kind, nothing."""

# Share of the stated bandwidth that a run of a quantised model reaches: 0.60 to 0.68 is reported for NVIDIA, 0.70 for
# Apple, 0.50 for CPUs, and 0.5 to 0.7 over all devices, which is what the others take the lower half of.
_EFFICIENCY: Mapping[str, float] = {"nvidia": 0.64, "apple": 0.70, "host": 0.50}
_OTHER_EFFICIENCY = 0.55

# GB/s of a device of which only the kind is known: the slowest in use, a common one, the fastest.
_KINDS: Mapping[str, tuple[float, float, float]] = {
    "discrete": (128, 448, 1008),
    "integrated": (25, 50, 100),
    "unified": (68, 200, 800),
    "host": (20, 50, 100),
}

# How far a real run lies from the prediction.
_SPREAD = 0.30

# Words that make another product of the name before them.
_VARIANTS = frozenset(("ti", "super", "xt", "xtx", "gre", "pro", "max", "ultra", "ada"))
_MOBILE = frozenset(("laptop", "mobile", "q"))


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What one memory delivers to a running model, in GB/s."""

    low: float
    likely: float
    high: float
    source: Source


UNKNOWN = Bandwidth(0, 0, 0, "unknown")


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second; all three are None when nothing is known of the memory."""

    low: float | None
    likely: float | None
    high: float | None
    source: Source


def bandwidth_of(name: str, *, vendor: str, kind: str, chips: Sequence[str] = ()) -> Bandwidth:
    """Return the bandwidth of a device by its name, else by its chip, else by its kind.

    Args:
        name: The device's name as the driver or the system prints it; empty for main memory.
        vendor: ``nvidia``, ``amd``, ``intel``, ``apple``, or another word.
        kind: What memory the device has: ``discrete``, ``integrated`` or ``unified``; ``host`` is main memory that the
            CPU computes from. Nothing is claimed of any other.
        chips: What else says which chip it is, the most telling first: ``1002:1586``, ``gfx1151``, ``sm_121``.
    """
    efficiency = _EFFICIENCY.get("host" if kind == "host" else vendor, _OTHER_EFFICIENCY)
    # The product, in the words of the table, that a chip stands for.
    products = _document()["chip"]
    names = [name, *(products[chip] for chip in chips if chip in products)] if kind != "host" else []
    stated = next((figure for each in names if (figure := _stated(each, vendor))), None)
    if stated is not None:
        return _around((stated, stated, stated), efficiency, "table")
    usual = _KINDS.get(kind)
    return UNKNOWN if usual is None else _around(usual, efficiency, "class")


def predict(facts: Gguf, weights: int, *, memory: Bandwidth, depth: int) -> Speed:
    """Predict the speed of writing at ``depth`` tokens of context, with ``weights`` bytes of files in ``memory``."""
    passed = max(0, int(weights * facts.active) - facts.input_bytes)
    read = passed + kv_read_bytes(facts, depth=depth)
    if memory.source == "unknown" or not read:
        return Speed(None, None, None, "unknown")
    low, likely, high = (gb_s * 1e9 / read for gb_s in (memory.low, memory.likely, memory.high))
    return Speed(low, likely, high, memory.source)


def _around(figures: tuple[float, float, float], efficiency: float, source: Source) -> Bandwidth:
    low, likely, high = (figure * efficiency for figure in figures)
    return Bandwidth(low * (1 - _SPREAD), likely, high * (1 + _SPREAD), source)


# A plan asks for the same device once for every model.
@functools.lru_cache(maxsize=64)
def _stated(name: str, vendor: str) -> float | None:
    words = _words(name)
    found = [
        (len(key), figure) for key, figure in _table().get(vendor, {}).items() if _names(key, words, vendor=vendor)
    ]
    return max(found)[1] if found else None


def _names(key: tuple[str, ...], words: tuple[str, ...], *, vendor: str) -> bool:
    """Whether ``key`` is the product that ``words`` name, and not a slower or faster relative of it."""
    if not _MOBILE.isdisjoint(words) and _MOBILE.isdisjoint(key) and vendor == "nvidia":
        return False
    for start in range(len(words) - len(key) + 1):
        after = words[start + len(key)] if start + len(key) < len(words) else ""
        if words[start : start + len(key)] == key and after not in _VARIANTS:
            return True
    return False


def _words(name: str) -> tuple[str, ...]:
    plain = re.sub(r"\((r|tm|c)\)", " ", name.lower())
    return tuple(re.findall(r"[a-z0-9]+", plain))


@functools.cache
def _document() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads((files("concierge.fit") / "bandwidth.toml").read_text(encoding="utf-8"))


@functools.cache
def _table() -> Mapping[str, Mapping[tuple[str, ...], float]]:
    return {
        vendor: {_words(name): float(figure) for name, figure in figures.items()}
        for vendor, figures in _document().items()
        if vendor != "chip"
    }
