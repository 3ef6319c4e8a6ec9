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

# Bytes of 32 cached elements: a quantised block carries its scale with it.
_BLOCK: dict[KvType, int] = {"f16": 64, "q8_0": 34}

# llama.cpp rounds the cells of a cache up to this many.
_CELLS = 256
# Floats that the graph holds for each token of a batch, in embeddings and in feed-forward widths, and what attention
# alone holds where the feed-forward block is narrow: measured with models of several shapes, see docs/fit.md.
_EMBEDDINGS, _FEED_FORWARDS, _ATTENTION = 5, 3, 6
# What a mixture holds beside, in embeddings for each expert in use: each token's way through each of them.
_ROUTED = 4
# A quantised cache is made plain for attention heads that are wider than this, one layer at a time.
_WIDE_HEAD = 256
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


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model is served, as far as memory depends on it.

    Attributes:
        context: Tokens that one request may use.
        kv_type: Type of the cached keys and values.
        sequences: Requests at once, each with a cache of its own.
        drafts: Tokens that the model's own next-token-prediction block proposes at once; 0 leaves the block out.
        ubatch: Tokens that are computed at once while a prompt is read.
        devices: Cards that the layers are divided among; each computes in buffers of its own.
        host_experts: Bytes of experts that stay in main memory while everything else is on the device.
    """

    context: int
    kv_type: KvType = "f16"
    sequences: int = 1
    drafts: int = 0
    ubatch: int = UBATCH
    devices: int = 1
    host_experts: int = 0


def estimate(
    facts: Gguf, weights: int, serving: Serving, *, on_device: bool = True, margin: int = MARGIN
) -> MemoryEstimate:
    """Estimate the memory that serving a model needs.

    Args:
        facts: The model's facts.
        weights: Bytes of its files.
        serving: How it is served.
        on_device: Whether all layers are on accelerators, but for experts that stay behind; none is otherwise.
        margin: Bytes to leave free on each; ``margin_for`` knows what suits a device.
    """
    # Rows of the input table are looked up, not multiplied: the engine leaves the table in main memory.
    behind = min(facts.input_bytes + serving.host_experts, weights) if on_device else 0
    context, kv_type, buffers = serving.context, serving.kv_type, serving.devices * (2 if serving.drafts else 1)
    draft = kv_bytes(facts, context=context, kv_type=kv_type, layers=1) if serving.drafts else 0
    layers = Parts(
        weights=weights - behind,
        kv=serving.sequences * (kv_bytes(facts, context=context, kv_type=kv_type) + draft),
        state=serving.sequences * (1 + serving.drafts) * state_bytes(facts),
        compute=buffers
        * compute_bytes(facts, context=context, kv_type=kv_type, ubatch=serving.ubatch, on_device=on_device),
    )
    margin *= serving.devices
    if on_device:
        return MemoryEstimate(device=layers, host=Parts(weights=behind), margin=margin)
    return MemoryEstimate(device=Parts(), host=layers, margin=margin)


def margin_for(capacity: int) -> int:
    """Return what to leave free on a device of that capacity: more on a larger one, yet never all that it has more."""
    return min(SMALL_MARGIN + max(capacity - SMALL_DEVICE, 0) // 4, MARGIN)


def kv_bytes(facts: Gguf, *, context: int, kv_type: KvType = "f16", layers: int | None = None) -> int:
    """Return the size of the cache of keys and values, exactly as llama.cpp allocates it.

    With ``layers``, that of so many layers which attend to everything, such as a next-token-prediction block.
    """
    full, window = _cells(facts, context=context)
    blocks = _cell_blocks(facts, kv_type)
    if layers is not None:
        count = _kinds(facts).count("f")
        return layers * full * blocks.get("f", 0) // count // 32 if count else 0
    cells = {"f": full, "w": window}
    return sum(cells.get(kind, 0) * size for kind, size in blocks.items()) // 32


def kv_read_bytes(facts: Gguf, *, depth: int, kv_type: KvType = "f16") -> int:
    """Return the bytes of cache that are read to produce the next token after ``depth`` tokens."""
    near = min(depth, facts.window or depth)
    # A layer that shares a cache still reads it; most of those that do keep a window.
    seen = {"f": depth, "w": near, "s": near}
    return sum(seen.get(kind, 0) * size for kind, size in _cell_blocks(facts, kv_type).items()) // 32


def state_bytes(facts: Gguf) -> int:
    """Return the state of all recurrent layers for one request; it does not grow with the context."""
    state = facts.recurrent
    if state is None:
        return 0
    layers = _kinds(facts).count("r")
    convolution = (state.conv_kernel - 1) * (state.inner_size + 2 * state.group_count * state.state_size)
    return layers * 4 * (convolution + state.state_size * state.inner_size)


def compute_bytes(
    facts: Gguf, *, context: int, kv_type: KvType = "f16", ubatch: int = UBATCH, on_device: bool = False
) -> int:
    """Return the size of the buffers that one batch is computed in, with flash attention.

    On the CPU a quantised cache needs no more than another; on a device the buffers for it are a bound from above.
    """
    bound = on_device and kv_type != "f16"
    full, window = _cells(facts, context=context, ubatch=ubatch)
    width = facts.feed_forward or facts.embedding * _USUAL_WIDTH
    floats = max(_EMBEDDINGS * facts.embedding + _FEED_FORWARDS * width, _ATTENTION * facts.embedding)
    floats += _ROUTED * facts.experts_used * facts.embedding
    # The mask says for each token of the batch which cells it may see, in half precision, once for each kind of cache.
    mask = ubatch * 2 * (full + (window if "w" in facts.pattern else 0)) * (3 if bound else 1)
    logits = facts.vocab * 4
    return ubatch * floats * 4 + mask + logits + (_plain(facts, full) if bound else 0)


def _plain(facts: Gguf, cells: int) -> int:
    """Return the bytes of one layer's cache in half precision, where it is made plain before attention."""
    if facts.latent is not None or max(facts.key_length, facts.value_length) <= _WIDE_HEAD:
        return 0
    kinds = _kinds(facts)
    heads = _heads(facts, kinds, "f") // max(kinds.count("f"), 1)
    return cells * heads * (facts.key_length + facts.value_length) * 2


def _cells(facts: Gguf, *, context: int, ubatch: int = UBATCH) -> tuple[int, int]:
    """The cells of one request in a layer that attends to everything, and in one that keeps a window."""
    full = _padded(context)
    # The window must survive while a batch of new tokens is written behind it.
    return full, 0 if facts.window is None else min(full, _padded(facts.window + ubatch))


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
