"""How much memory a model needs, and how long a context fits: docs/fit.md explains each term and how well it holds.

Everything is in bytes. Nothing here reads a file or a machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from concierge.catalog.flags import UBATCH
from concierge.units import GIB, MIB

if TYPE_CHECKING:
    from concierge.catalog.types import Gguf

KvType = Literal["f16", "q8_0"]

# Bytes of 32 cached elements: a quantised block carries its scale with it. What is served is always cached as f16.
_BLOCK: dict[KvType, int] = {"f16": 64, "q8_0": 34}

# llama.cpp rounds the cells of a cache up to this many.
_CELLS = 256
# Floats that the graph holds for each token of a batch, in embeddings and in feed-forward widths, and what attention
# alone holds where the feed-forward block is narrow: measured with models of several shapes, see docs/fit.md.
_EMBEDDINGS, _FEED_FORWARDS, _ATTENTION = 5, 3, 6
# The width where the file does not state one; models are built between three and four embeddings wide.
_USUAL_WIDTH = 4
# What the driver, the allocator and everything else on the device may take.
MARGIN = GIB
SMALL_MARGIN = 512 * MIB
SMALL_DEVICE = 4 * GIB


@dataclass(frozen=True, slots=True)
class Parts:
    """What lies in one memory, by purpose."""

    weights: int = 0
    kv: int = 0
    state: int = 0
    compute: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.state + self.compute


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What the model needs on the accelerator and in main memory.

    Attributes:
        margin: Bytes to leave free on the accelerator, or in main memory when nothing is on an accelerator.
    """

    device: Parts
    host: Parts
    margin: int

    @property
    def device_total(self) -> int:
        """Bytes that the accelerator must have free; 0 when nothing is put there."""
        return self.device.total + self.margin if self.device.total else 0

    @property
    def host_total(self) -> int:
        """Bytes that main memory must have free."""
        return self.host.total if self.device.total else self.host.total + self.margin


def estimate(
    facts: Gguf, weights: int, *, context: int, on_device: bool = True, margin: int = MARGIN
) -> MemoryEstimate:
    """Estimate the memory that serving one request of ``context`` tokens needs.

    Args:
        facts: The model's facts.
        weights: Bytes of its files.
        context: Tokens that one request may use.
        on_device: Whether all layers are on an accelerator; none is otherwise.
        margin: Bytes to leave free; ``margin_for`` knows what suits a device.
    """
    # Rows of the input table are looked up, not multiplied: the engine leaves the table in main memory.
    table = min(facts.input_bytes, weights) if on_device else 0
    layers = Parts(
        weights=weights - table,
        kv=kv_bytes(facts, context=context),
        state=state_bytes(facts),
        compute=compute_bytes(facts, context=context),
    )
    if on_device:
        return MemoryEstimate(device=layers, host=Parts(weights=table), margin=margin)
    return MemoryEstimate(device=Parts(), host=layers, margin=margin)


def margin_for(capacity: int) -> int:
    """Return what to leave free on a device of that capacity: more on a larger one, yet never all that it has more."""
    return min(SMALL_MARGIN + max(capacity - SMALL_DEVICE, 0) // 4, MARGIN)


def kv_bytes(facts: Gguf, *, context: int, kv_type: KvType = "f16") -> int:
    """Return the size of the cache of keys and values, exactly as llama.cpp allocates it."""
    full, window = _cells(facts, context=context)
    cells = {"f": full, "w": window}
    return sum(cells.get(kind, 0) * size for kind, size in _cell_blocks(facts, kv_type).items()) // 32


def kv_read_bytes(facts: Gguf, *, depth: int) -> int:
    """Return the bytes of cache that are read to produce the next token after ``depth`` tokens."""
    near = min(depth, facts.window or depth)
    # A layer that shares a cache still reads it; most of those that do keep a window.
    seen = {"f": depth, "w": near, "s": near}
    return sum(seen.get(kind, 0) * size for kind, size in _cell_blocks(facts, "f16").items()) // 32


def state_bytes(facts: Gguf) -> int:
    """Return the state of all recurrent layers for one request; it does not grow with the context."""
    state = facts.recurrent
    if state is None:
        return 0
    layers = _kinds(facts).count("r")
    convolution = (state.conv_kernel - 1) * (state.inner_size + 2 * state.group_count * state.state_size)
    return layers * 4 * (convolution + state.state_size * state.inner_size)


def compute_bytes(facts: Gguf, *, context: int) -> int:
    """Return the size of the buffers that one batch is computed in, with flash attention."""
    full, window = _cells(facts, context=context)
    width = facts.feed_forward or facts.embedding * _USUAL_WIDTH
    floats = max(_EMBEDDINGS * facts.embedding + _FEED_FORWARDS * width, _ATTENTION * facts.embedding)
    activations = UBATCH * floats * 4
    # The mask says for each token of the batch which cells it may see, in half precision, once for each kind of cache.
    mask = UBATCH * 2 * (full + (window if "w" in facts.pattern else 0))
    logits = facts.vocab * 4
    return activations + mask + logits


def _cells(facts: Gguf, *, context: int) -> tuple[int, int]:
    """The cells of one request in a layer that attends to everything, and in one that keeps a window."""
    full = _padded(context)
    # The window must survive while a batch of new tokens is written behind it.
    return full, 0 if facts.window is None else min(full, _padded(facts.window + UBATCH))


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS


def _kinds(facts: Gguf) -> str:
    """One letter for each layer."""
    return (facts.pattern * (facts.layers // len(facts.pattern) + 1))[: facts.layers]


def _cell_blocks(facts: Gguf, kv_type: KvType) -> dict[str, int]:
    """For each kind of layer, 32 times the bytes that one cell takes in all layers of that kind together."""
    kinds = _kinds(facts)
    block = _BLOCK[kv_type]
    if facts.latent is not None:
        # Keys and values are two views of one compressed row.
        return {kind: kinds.count(kind) * facts.latent * block for kind in set(kinds)}
    blocks = {}
    for kind in set(kinds):
        windowed = kind == "w"
        key_length = (facts.window_key_length if windowed else None) or facts.key_length
        value_length = (facts.window_value_length if windowed else None) or facts.value_length
        blocks[kind] = _heads(facts, kinds, kind) * (key_length + value_length) * block
    return blocks


def _heads(facts: Gguf, kinds: str, kind: str) -> int:
    """The key-value heads of all layers of a kind together."""
    if isinstance(facts.kv_heads, int):
        return kinds.count(kind) * facts.kv_heads
    return sum(heads for heads, each in zip(facts.kv_heads, kinds, strict=False) if each == kind)
