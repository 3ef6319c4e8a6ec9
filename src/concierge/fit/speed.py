"""How many tokens a second to expect: a range with where it comes from, and no claim where the memory is unknown.

One written token costs one reading of the weights it passes and of the cache behind it, and for every layer the time
to set its work going. A prompt is computed in batches, so arithmetic bounds it. docs/fit.md explains the figures.
"""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from concierge.fit.memory import KvType, kv_read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.catalog.types import Gguf

Source = Literal["measured", "table", "class", "unknown"]
"""Best first: measured here, the vendor's figure for the device, the usual figures for its kind, nothing."""

_ORDER: tuple[Source, ...] = ("measured", "table", "class", "unknown")


@dataclass(frozen=True, slots=True)
class Family:
    """What devices of one kind make of their memory.

    Attributes:
        efficiency: Share of the stated bandwidth that a run reaches when nothing else holds it up.
        layer_us: Microseconds that each layer adds; ``mixture`` times as many in a mixture, which routes its tokens.
        flops_per_byte: Operations that a long prompt is computed with, per byte of stated bandwidth.
    """

    efficiency: float
    layer_us: float
    mixture: float
    flops_per_byte: float


# Fitted to the published runs of tests/fit/speeds.tsv; prompts to those that docs/fit.md lists.
_FAMILIES: Mapping[str, Family] = {
    "nvidia": Family(0.78, 24, 1.0, 100),
    "nvidia old": Family(0.70, 40, 1.5, 25),
    "nvidia hbm": Family(0.52, 36, 1.5, 47),
    "apple": Family(0.82, 84, 2.0, 24),
    "apple ultra": Family(0.48, 80, 1.0, 22),
    "amd": Family(0.86, 76, 1.0, 42),
    "intel": Family(0.80, 120, 1.5, 28),
    "other": Family(0.55, 100, 1.5, 20),
    "host": Family(0.54, 400, 1.0, 0),
    "measured": Family(0.80, 200, 1.0, 0),
}
_HBM = re.compile(r"\b(v100|p100|a30|a100|h100|h200|h800|gh200|b100|b200|gb200)\b")
_WITHOUT_TENSORS = re.compile(r"\b(p40|p4|gtx|titan x[p]?|quadro p\d+)\b")

# GB/s of a device of which only the kind is known: the slowest in use, a common one, the fastest.
_KINDS: Mapping[str, tuple[float, float, float]] = {
    "discrete": (128, 448, 1008),
    "integrated": (38, 68, 128),
    "unified": (68, 200, 800),
    "host": (20, 50, 100),
}

# How far a real run lies from the prediction: 30 % on devices; a CPU's compiler, cores and memory modules differ more.
_SPREAD = (0.70, 1.35)
_HOST_SPREAD = (0.5, 2.0)

_CORE_GB_S = 12.0
"""What one core of a server's processor can read by itself: a small share of it is not given all its channels."""

# Billions of operations a second that one core computes a prompt with, by level: measured for v3 and v4, the others
# by the width of their vectors.
_CORE_GFLOPS: Mapping[str, float] = {
    "x86-64-v4": 90,
    "x86-64-v3": 50,
    "x86-64-v2": 10,
    "x86-64-v1": 5,
    "armv9": 60,
    "armv8.2": 35,
    "armv8": 12,
}
_USUAL_CORES, _USUAL_GFLOPS = 4, 30.0

_MIXTURE_PROMPT = 0.5
"""Share of the arithmetic that a mixture reaches with a prompt: its tokens are spread over many small products."""

_PCIE_GB_S = 6.0
"""Weights that a card reads from main memory, while a prompt is computed that they are needed for."""

# Words that make another product of the name before them.
_VARIANTS = frozenset(("ti", "super", "xt", "xtx", "gre", "pro", "max", "ultra", "ada"))
_MOBILE = frozenset(("laptop", "mobile", "q"))


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one processor and its memory deliver to a running model.

    Attributes:
        low: GB/s (1e9 bytes a second) to expect at least, ``likely`` the best guess, ``high`` the most.
        layer_s: Seconds that each layer adds to a token, ``mixture`` times as many in a mixture.
        flops: Operations a second that a prompt is computed with; 0 when nothing is known.
    """

    low: float
    likely: float
    high: float
    source: Source
    layer_s: float = 0.0
    mixture: float = 1.0
    flops: float = 0.0


UNKNOWN = Throughput(0, 0, 0, "unknown")


@dataclass(frozen=True, slots=True)
class Part:
    """The layers, as a share of all, that lie on one processor: common weights and cache, or experts, or both."""

    on: Throughput
    common: float = 1.0
    experts: float = 1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second, written and (``prompt``) read; None when nothing is known of the memory."""

    low: float | None
    likely: float | None
    high: float | None
    source: Source
    prompt: float | None = None


NO_CLAIM = Speed(None, None, None, "unknown")


# A plan asks for the same processors once for every model.
@functools.lru_cache(maxsize=64)
def device(name: str, *, vendor: str, kind: str, chips: Sequence[str] = (), memory: int | None = None) -> Throughput:
    """Return what a device delivers, by its name, else by its chip, else by its kind.

    Args:
        name: The device's name as the driver or the system prints it.
        vendor: ``nvidia``, ``amd``, ``intel``, ``apple``, or another word.
        kind: What memory the device has: ``discrete``, ``integrated`` or ``unified``. Nothing is claimed of any other.
        chips: What else says which chip it is, the most telling first: ``1002:1586``, ``gfx1151``, ``sm_121``.
        memory: Bytes of it, which tell products apart that share a name.
    """
    # The product, in the words of the table, that a chip stands for.
    products = _document()["chip"]
    names = [name, *(products[chip] for chip in (*chips, *_words(name)) if chip in products)]
    size = "" if memory is None else f" {round(memory / 2**30)}gb"
    stated = next((figure for each in names if (figure := _stated(each + size, vendor)) is not None), None)
    family = _family(" ".join(names).lower(), vendor)
    if stated is not None:
        return _around((stated, stated, stated), family, "table")
    usual = _KINDS.get(kind)
    return UNKNOWN if usual is None else _around(usual, family, "class")


@functools.lru_cache(maxsize=64)
def host(model: str, *, cores: int | None, level: str | None, reads_gb_s: float | None = None) -> Throughput:
    """Return what a processor delivers from main memory.

    Args:
        model: The processor's name as the system prints it.
        cores: Physical cores that may be used.
        level: Its instructions, such as ``x86-64-v3`` or ``armv8.2``.
        reads_gb_s: What it was measured to read.
    """
    each = next((figure for start, figure in _CORE_GFLOPS.items() if (level or "").startswith(start)), _USUAL_GFLOPS)
    flops = each * 1e9 * (cores or _USUAL_CORES)
    if reads_gb_s:
        found = _around((reads_gb_s,) * 3, _FAMILIES["measured"], "measured")
        return Throughput(found.low, found.likely, found.high, "measured", found.layer_s, found.mixture, flops)
    figure = _channels(model, cores)
    found = (
        _around(_KINDS["host"], _FAMILIES["host"], "class")
        if figure is None
        else _around((figure,) * 3, _FAMILIES["host"], "table", _HOST_SPREAD)
    )
    return Throughput(found.low, found.likely, found.high, found.source, found.layer_s, found.mixture, flops)


def predict(
    facts: Gguf, weights: int, *, active: int, on: Sequence[Part], depth: int, kv_type: KvType = "f16"
) -> Speed:
    """Predict the speed of writing at ``depth`` tokens of context, and of reading a prompt.

    Args:
        facts: The model's facts.
        weights: Bytes of its files.
        active: Weights, as a number, that one token passes.
        on: Where its layers lie; the shares of all parts together are 1.
        depth: Tokens before the one that is written.
        kv_type: Type of the cache behind it.
    """
    passed = max(0, int(weights * facts.active) - facts.input_bytes)
    experts = active_expert_bytes(facts, weights)
    common = passed - experts + kv_read_bytes(facts, depth=depth, kv_type=kv_type)
    if not passed or any(part.on.source == "unknown" for part in on):
        return NO_CLAIM
    low, likely, high = (
        1 / sum(_seconds(facts, part, rate, common, experts) for part, rate in zip(on, rates, strict=True))
        for rates in zip(*((part.on.low, part.on.likely, part.on.high) for part in on), strict=True)
    )
    return Speed(low, likely, high, max((part.on.source for part in on), key=_ORDER.index), _prompt(facts, active, on))


def streamed(prompt: float | None, *, experts: int, batch: int) -> float | None:
    """Return how fast a prompt is read whose experts lie in main memory and are brought to the device batch by batch.

    Args:
        prompt: Tokens a second with everything on the device.
        experts: Bytes that are brought.
        batch: Tokens that are computed at once.
    """
    if not prompt:
        return prompt
    return batch / (batch / prompt + experts / (_PCIE_GB_S * 1e9))


def expert_bytes(facts: Gguf, weights: int) -> int:
    """Return the bytes of all experts: what a token does not pass is the share of them that is not in use."""
    if not facts.experts or not facts.experts_used or facts.experts_used >= facts.experts:
        return 0
    return min(int(weights * (1 - facts.active) / (1 - facts.experts_used / facts.experts)), weights)


def active_expert_bytes(facts: Gguf, weights: int) -> int:
    """Return the bytes of the experts that one token passes."""
    return int(expert_bytes(facts, weights) * facts.experts_used / facts.experts) if facts.experts else 0


def _seconds(facts: Gguf, part: Part, gb_s: float, common: int, experts: int) -> float:
    read = part.common * common + part.experts * experts
    layers = facts.layers * max(part.common, part.experts)
    idle = layers * part.on.layer_s * (part.on.mixture if facts.experts else 1)
    # Whatever makes the memory slower or faster than is likely does so to all of it.
    return read / (gb_s * 1e9) + idle * part.on.likely / gb_s


def _prompt(facts: Gguf, active: int, on: Sequence[Part]) -> float | None:
    """Tokens of a prompt a second; experts in main memory are left to ``streamed``."""
    if any(not part.on.flops for part in on):
        return None
    work = 2 * active / (_MIXTURE_PROMPT if facts.experts else 1)
    return 1 / sum(part.common * work / part.on.flops for part in on)


def _family(name: str, vendor: str) -> Family:
    if vendor == "nvidia":
        if _HBM.search(name):
            return _FAMILIES["nvidia hbm"]
        return _FAMILIES["nvidia old" if _WITHOUT_TENSORS.search(name) else "nvidia"]
    if vendor == "apple" and "ultra" in name:
        return _FAMILIES["apple ultra"]
    return _FAMILIES.get(vendor, _FAMILIES["other"])


def _around(
    figures: tuple[float, ...], family: Family, source: Source, spread: tuple[float, float] = _SPREAD
) -> Throughput:
    low, likely, high = (figure * family.efficiency for figure in figures)
    return Throughput(
        low * spread[0],
        likely,
        high * spread[1],
        source,
        family.layer_us * 1e-6,
        family.mixture,
        figures[1] * 1e9 * family.flops_per_byte,
    )


def _channels(model: str, cores: int | None) -> float | None:
    """Return the bandwidth of a processor's memory channels, as far as its cores can use them."""
    for pattern, figure in _document()["host"].items():
        if re.search(pattern, model, re.IGNORECASE):
            server = figure > _KINDS["host"][2]
            return min(figure, _CORE_GB_S * cores) if server and cores else float(figure)
    return None


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
    # The size of the memory stands last, whatever words the name has before it.
    if key[-1].endswith("gb") and key[-1] in words:
        key, words = key[:-1], tuple(word for word in words if word != key[-1])
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
        if vendor not in ("chip", "host")
    }
