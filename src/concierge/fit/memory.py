"""How much memory a model needs, and how long a context fits: docs/fit.md explains each term and how well it holds.

Everything is in bytes. Nothing here reads a file or a machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from concierge.units import GIB, MIB

if TYPE_CHECKING:
    from concierge.catalog.types import Gguf

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]

# Bytes of 32 cached elements: a quantised block carries its scale (and minimum) with it.
_BLOCK: dict[KvType, int] = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
}


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
    facts: Gguf,
    weights: int,
    *,
    context: int,
    parallel: int = 1,
    kv_type_k: KvType = "f16",
    kv_type_v: KvType = "f16",
    ubatch: int = 512,
    gpu_layers: int | None = None,
    margin: int = MARGIN,
) -> MemoryEstimate:
    """Estimate the memory that serving needs.

    Args:
        facts: The model's facts.
        weights: Bytes of its files.
        context: Tokens that one request may use.
        parallel: Requests that are served at once.
        kv_type_k: How keys are cached; ``kv_type_v`` the same of values.
        kv_type_v: See ``kv_type_k``.
        ubatch: Tokens that are computed at once while a prompt is read.
        gpu_layers: Layers on the accelerator; None puts all of them there, 0 none.
        margin: Bytes to leave free; ``margin_for`` knows what suits a device.
    """
    kv = kv_bytes(facts, context=context, parallel=parallel, kv_type_k=kv_type_k, kv_type_v=kv_type_v, ubatch=ubatch)
    state = state_bytes(facts) * parallel
    compute = compute_bytes(facts, context=context, parallel=parallel, ubatch=ubatch)
    on_device = facts.layers if gpu_layers is None else min(max(gpu_layers, 0), facts.layers)
    # Rows of the input table are looked up, not multiplied: the engine leaves the table in main memory.
    movable = max(0, weights - facts.input_bytes)

    def share(amount: int) -> int:
        return amount * on_device // facts.layers

    device = Parts(weights=share(movable), kv=share(kv), state=share(state), compute=compute if on_device else 0)
    host = Parts(
        weights=weights - device.weights,
        kv=kv - device.kv,
        state=state - device.state,
        compute=0 if on_device == facts.layers else compute,
    )
    return MemoryEstimate(device=device, host=host, margin=margin)


def margin_for(capacity: int) -> int:
    """Return what to leave free on a device of that capacity: more on a larger one, yet never all that it has more."""
    return min(SMALL_MARGIN + max(capacity - SMALL_DEVICE, 0) // 4, MARGIN)


def kv_bytes(
    facts: Gguf,
    *,
    context: int,
    parallel: int = 1,
    kv_type_k: KvType = "f16",
    kv_type_v: KvType = "f16",
    ubatch: int = 512,
) -> int:
    """Return the size of the cache of keys and values, exactly as llama.cpp allocates it."""
    full, window = _cells(facts, context=context, ubatch=ubatch)
    cells = {"f": full * parallel, "w": window * parallel}
    blocks = _cell_blocks(facts, kv_type_k, kv_type_v)
    return sum(cells.get(kind, 0) * size for kind, size in blocks.items()) // 32


def kv_read_bytes(facts: Gguf, *, depth: int, kv_type_k: KvType = "f16", kv_type_v: KvType = "f16") -> int:
    """Return the bytes of cache that are read to produce the next token after ``depth`` tokens."""
    near = min(depth, facts.window or depth)
    # A layer that shares a cache still reads it; most of those that do keep a window.
    seen = {"f": depth, "w": near, "s": near}
    blocks = _cell_blocks(facts, kv_type_k, kv_type_v)
    return sum(seen.get(kind, 0) * size for kind, size in blocks.items()) // 32


def state_bytes(facts: Gguf) -> int:
    """Return the state of all recurrent layers for one request; it does not grow with the context."""
    state = facts.recurrent
    if state is None:
        return 0
    layers = _kinds(facts).count("r")
    convolution = (state.conv_kernel - 1) * (state.inner_size + 2 * state.group_count * state.state_size)
    return layers * 4 * (convolution + state.state_size * state.inner_size)


def compute_bytes(facts: Gguf, *, context: int, parallel: int = 1, ubatch: int = 512) -> int:
    """Return the size of the buffers that one batch is computed in, with flash attention."""
    full, window = _cells(facts, context=context, ubatch=ubatch)
    width = facts.feed_forward or facts.embedding * _USUAL_WIDTH
    floats = max(_EMBEDDINGS * facts.embedding + _FEED_FORWARDS * width, _ATTENTION * facts.embedding)
    activations = ubatch * floats * 4
    # The mask says for each token of the batch which cells it may see, in half precision, once for each kind of cache.
    mask = ubatch * 2 * (full + (window if "w" in facts.pattern else 0))
    logits = parallel * facts.vocab * 4
    return activations + mask + logits


def _cells(facts: Gguf, *, context: int, ubatch: int) -> tuple[int, int]:
    """The cells of one request in a layer that attends to everything, and in one that keeps a window."""
    full = _padded(context)
    # The window must survive while a batch of new tokens is written behind it.
    return full, 0 if facts.window is None else min(full, _padded(facts.window + ubatch))


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS


def _kinds(facts: Gguf) -> str:
    """One letter for each layer."""
    return (facts.pattern * (facts.layers // len(facts.pattern) + 1))[: facts.layers]


def _cell_blocks(facts: Gguf, kv_type_k: KvType, kv_type_v: KvType) -> dict[str, int]:
    """For each kind of layer, 32 times the bytes that one cell takes in all layers of that kind together."""
    kinds = _kinds(facts)
    key, value = _BLOCK[kv_type_k], _BLOCK[kv_type_v]
    if facts.latent is not None:
        # Keys and values are two views of one compressed row.
        return {kind: kinds.count(kind) * facts.latent * key for kind in set(kinds)}
    blocks = {}
    for kind in set(kinds):
        windowed = kind == "w"
        key_length = (facts.window_key_length if windowed else None) or facts.key_length
        value_length = (facts.window_value_length if windowed else None) or facts.value_length
        blocks[kind] = _heads(facts, kinds, kind) * (key_length * key + value_length * value)
    return blocks


def _heads(facts: Gguf, kinds: str, kind: str) -> int:
    """The key-value heads of all layers of a kind together."""
    if isinstance(facts.kv_heads, int):
        return kinds.count(kind) * facts.kv_heads
    return sum(heads for heads, each in zip(facts.kv_heads, kinds, strict=False) if each == kind)
