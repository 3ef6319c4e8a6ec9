"""What the fit formula needs, out of a GGUF header. Where a key is missing, the rule is llama.cpp's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from concierge.catalog.types import Gguf, Recurrent
from concierge.errors import ArtefactError

if TYPE_CHECKING:
    from concierge.gguf.header import Header, Tensor, Value

# Architectures whose window pattern is written in llama.cpp's code and not in the file: of so many layers in a row,
# all but the last attend to a window only.
_PERIOD = {"gpt-oss": 2, "gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "exaone4": 4}
# Hybrids whose interval is the same: of so many layers in a row, only the last one attends at all.
_INTERVAL = {"qwen35": 4, "qwen35moe": 4, "qwen3next": 4}
# Layers that hold a cache, where the file does not say it.
_OWN_CACHE = {"gemma3n": 20}

_INPUT_TABLES = ("token_embd.weight", "per_layer_token_embd.weight")


def facts_of(header: Header, *, name: str) -> Gguf:
    """Return the fit formula's facts of the file ``name``, refusing a header that lacks one or states nonsense."""
    keys = _Keys(header, name)
    layers = keys.number("block_count") - keys.number("nextn_predict_layers", default=0)
    embedding = keys.number("embedding_length")
    heads = keys.largest("attention.head_count")
    if layers <= 0 or heads <= 0 or embedding <= 0:
        raise keys.wrong(f"it states {layers} layers, {heads} heads and an embedding of {embedding}")
    key_length = keys.number("attention.key_length", default=embedding // heads)
    value_length = keys.number("attention.value_length", default=embedding // heads)
    pattern = _pattern(keys, layers)
    windowed = "w" in pattern
    experts = keys.number("expert_count", default=0)
    experts_used = keys.number("expert_used_count", default=0)
    try:
        return Gguf(
            architecture=keys.architecture,
            layers=layers,
            embedding=embedding,
            vocab=_vocab(keys),
            heads=heads,
            kv_heads=keys.per_layer("attention.head_count_kv", layers=layers, default=heads),
            key_length=key_length,
            value_length=value_length,
            feed_forward=_feed_forward(keys, experts_used),
            pattern=pattern,
            window=keys.number("attention.sliding_window") if windowed else None,
            window_key_length=keys.optional("attention.key_length_swa") if windowed else None,
            window_value_length=keys.optional("attention.value_length_swa") if windowed else None,
            latent=_latent(keys, key_length),
            recurrent=_recurrent(keys) if "r" in pattern else None,
            experts=experts,
            experts_used=experts_used,
            active=_active(header.tensors, experts=experts, used=experts_used),
            input_bytes=_input_bytes(header.tensors),
        )
    except ValueError as error:
        raise keys.wrong("its facts contradict each other") from error


class _Keys:
    """The metadata of one architecture, with its prefix taken off."""

    def __init__(self, header: Header, name: str) -> None:
        self.metadata = header.metadata
        self._name = name
        architecture = header.metadata.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise self.wrong("it does not name its architecture")
        self.architecture = architecture
        self.tensors = header.tensors

    def wrong(self, what: str) -> ArtefactError:
        return ArtefactError(
            f"The GGUF header does not tell how much memory the model needs: {what}.",
            where=self._name,
            hint="Choose a model from `concierge models`, or another file of this one.",
        )

    def raw(self, key: str) -> Value | None:
        return self.metadata.get(f"{self.architecture}.{key}")

    def optional(self, key: str) -> int | None:
        value = self.raw(key)
        if value is None:
            return None
        # A float that is a whole number is what some converters write.
        if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value < 1 << 31:
            raise self.wrong(f"{key} is {value!r}")
        return int(value)

    def number(self, key: str, *, default: int | None = None) -> int:
        value = self.optional(key)
        if value is None:
            value = default
        if value is None:
            raise self.wrong(f"the key {self.architecture}.{key} is missing")
        return value

    def list(self, key: str) -> list[int] | None:
        value = self.raw(key)
        if not isinstance(value, tuple):
            return None
        numbers = [int(each) for each in value if isinstance(each, int) and 0 <= each < 1 << 31]
        if len(numbers) != len(value):
            raise self.wrong(f"{key} holds something that is not a count")
        return numbers

    def largest(self, key: str) -> int:
        numbers = self.list(key)
        return max(numbers, default=0) if numbers is not None else self.number(key)

    def per_layer(self, key: str, *, layers: int, default: int) -> int | tuple[int, ...]:
        numbers = self.list(key)
        if numbers is None:
            return self.number(key, default=default)
        if len(numbers) < layers:
            raise self.wrong(f"{key} names {len(numbers)} of {layers} layers")
        return tuple(numbers[:layers])


def _pattern(keys: _Keys, layers: int) -> str:
    """One letter for each layer, or one repeated letter group; the letters are those of ``Gguf.pattern``."""
    if keys.raw("ssm.state_size") is not None or keys.architecture in _INTERVAL:
        return _hybrid(keys, layers)
    window = keys.optional("attention.sliding_window")
    if not window:
        return "f"
    stated = keys.list("attention.sliding_window_pattern")
    if stated is not None:
        if len(stated) < layers:
            raise keys.wrong("its window pattern is shorter than its layers")
        pattern = "".join("w" if each else "f" for each in stated[:layers])
    else:
        period = keys.optional("attention.sliding_window_pattern") or _PERIOD.get(keys.architecture, 1)
        # Without a known pattern every layer is taken to attend to everything: too much memory rather than too little.
        pattern = ("w" * (period - 1) + "f") * (layers // period + 1)
    return _shared(keys, pattern[:layers])


def _hybrid(keys: _Keys, layers: int) -> str:
    heads = keys.list("attention.head_count_kv")
    if heads is not None:
        return "".join("f" if each else "r" for each in heads[:layers])
    interval = keys.optional("full_attention_interval") or _INTERVAL.get(keys.architecture)
    if interval is None:
        # A purely recurrent model states no attention; one that states it without a pattern is taken at its worst.
        return "r" if keys.raw("attention.head_count_kv") in (None, 0) else "f"
    return (("r" * (interval - 1) + "f") * (layers // interval + 1))[:layers]


def _shared(keys: _Keys, pattern: str) -> str:
    layers = len(pattern)
    own = _OWN_CACHE.get(keys.architecture, layers - keys.number("attention.shared_kv_layers", default=0))
    return pattern[: max(own, 0)] + "s" * (layers - max(own, 0))


def _vocab(keys: _Keys) -> int:
    for tensor in keys.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.shape) > 1:
            return tensor.shape[1]
    stated = keys.optional("vocab_size")
    if stated:
        return stated
    tokens = keys.metadata.get("tokenizer.ggml.tokens")
    length = len(tokens) if isinstance(tokens, tuple) else getattr(tokens, "length", 0)
    if not length:
        raise keys.wrong("it has no vocabulary")
    return int(length)


def _feed_forward(keys: _Keys, experts_used: int) -> int | None:
    expert = keys.optional("expert_feed_forward_length")
    if expert and experts_used:
        return expert * experts_used
    numbers = keys.list("feed_forward_length")
    return (max(numbers, default=0) if numbers is not None else keys.optional("feed_forward_length")) or None


def _latent(keys: _Keys, key_length: int) -> int | None:
    # Without the `_mla` lengths the file predates the compressed cache, and llama.cpp keeps full keys and values.
    if keys.raw("attention.kv_lora_rank") is None or keys.raw("attention.key_length_mla") is None:
        return None
    return key_length


def _recurrent(keys: _Keys) -> Recurrent:
    return Recurrent(
        conv_kernel=keys.number("ssm.conv_kernel"),
        inner_size=keys.number("ssm.inner_size"),
        state_size=keys.number("ssm.state_size"),
        group_count=keys.number("ssm.group_count", default=0),
    )


def _input_bytes(tensors: tuple[Tensor, ...]) -> int:
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    tables = _INPUT_TABLES[1:] if tied else _INPUT_TABLES
    return sum(tensor.size or 0 for tensor in tensors if tensor.name in tables)


def _active(tensors: tuple[Tensor, ...], *, experts: int, used: int) -> float:
    total = sum(tensor.size or 0 for tensor in tensors)
    if not experts or not 0 < used <= experts or not total:
        return 1.0
    routed = sum(tensor.size or 0 for tensor in tensors if "_exps." in tensor.name)
    return (total - routed + routed * used / experts) / total
