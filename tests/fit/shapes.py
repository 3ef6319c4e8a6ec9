"""The shapes of models whose runs were published; most are no longer in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from concierge.catalog.types import Gguf


@dataclass(frozen=True)
class Shape:
    """A model's facts, and the weights that one token passes."""

    facts: Gguf
    active: float


def _shape(passed: float, architecture: str, **facts: Any) -> Shape:
    return Shape(Gguf(architecture=architecture, **facts), passed)


def _llama(passed: float, layers: int, embedding: int, heads: int, kv: int, width: int, **more: Any) -> Shape:
    ordinary = {"vocab": 128_256, "key_length": 128, "value_length": 128, "architecture": "llama", **more}
    return _shape(passed, layers=layers, embedding=embedding, heads=heads, kv_heads=kv, feed_forward=width, **ordinary)


QWEN3 = {"architecture": "qwen3", "vocab": 151_936}
HYBRID: dict[str, Any] = {
    "vocab": 248_320,
    "key_length": 256,
    "value_length": 256,
    "pattern": "rrrf",
    "recurrent": {"conv_kernel": 4, "inner_size": 4096, "state_size": 128, "group_count": 16},
}

SHAPES = {
    "smollm2-135m": _llama(0.135e9, 30, 576, 9, 3, 1536, vocab=49_152, key_length=64, value_length=64),
    "llama-2-7b": _llama(6.7e9, 32, 4096, 32, 32, 11008, vocab=32_000),
    "llama-3.1-8b": _llama(8.0e9, 32, 4096, 32, 8, 14336, input_bytes=295_501_824),
    "llama-3.2-3b": _llama(3.2e9, 28, 3072, 24, 8, 8192),
    "qwen2.5-7b": _llama(7.6e9, 28, 3584, 28, 4, 18944, input_bytes=306_000_000),
    "qwen2.5-coder-7b": _llama(7.6e9, 28, 3584, 28, 4, 18944, input_bytes=580_000_000),
    "qwen2.5-14b": _llama(14.8e9, 48, 5120, 40, 8, 13824, input_bytes=447_000_000),
    "qwen3-0.6b": _llama(0.6e9, 28, 1024, 16, 8, 3072, **QWEN3),
    "qwen3-4b": _llama(4.0e9, 36, 2560, 32, 8, 9728, **QWEN3),
    "qwen3-8b": _llama(8.2e9, 36, 4096, 32, 8, 12288, **QWEN3),
    "qwen3-14b": _llama(14.8e9, 40, 5120, 40, 8, 17408, **QWEN3),
    "qwen3-30b-a3b": _llama(
        3.3e9, 48, 2048, 32, 4, 6144, vocab=151_936, architecture="qwen3moe", experts=128, experts_used=8, active=0.11
    ),
    "gpt-oss-20b": _llama(
        3.6e9, 24, 2880, 64, 8, 11520, vocab=201_088, architecture="gpt-oss", key_length=64, value_length=64,
        pattern="wf", window=128, experts=32, experts_used=4, active=0.22,
    ),
    "qwen3.5-4b": _shape(4.0e9, "qwen35", layers=32, embedding=2560, heads=16, kv_heads=4, **HYBRID),
    "qwen3.5-9b": _shape(
        9.0e9, "qwen35", layers=32, embedding=4096, heads=16, kv_heads=4, feed_forward=12288, **HYBRID
    ),
}  # fmt: skip
