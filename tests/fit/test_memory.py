from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concierge.catalog.loader import load
from concierge.catalog.types import Gguf, Recurrent
from concierge.fit import memory
from concierge.units import GIB, MIB

CATALOG = load()


def dense(layers: int, kv_heads: int, head: int = 128, **more: object) -> Gguf:
    return Gguf.model_validate(
        {
            "architecture": "llama",
            "layers": layers,
            "embedding": 4096,
            "vocab": 128_000,
            "heads": 32,
            "kv_heads": kv_heads,
            "key_length": head,
            "value_length": head,
            **more,
        }
    )


def per_token(facts: Gguf, kv_type: memory.KvType = "f16") -> float:
    """What one more token of a long context costs."""
    long, longer = (memory.kv_bytes(facts, context=context, kv_type=kv_type) for context in (65_536, 131_072))
    return (longer - long) / 65_536


# layers, key-value heads, KiB per token at f16, GiB at 4k, 8k, 16k and 32k, KiB per token at q8_0
TABLE = {
    "Qwen3-0.6B / 1.7B": (28, 8, 112, 0.44, 0.88, 1.75, 3.50, 59.5),
    "Qwen3-4B / 8B": (36, 8, 144, 0.56, 1.13, 2.25, 4.50, 76.5),
    "Qwen3-14B": (40, 8, 160, 0.63, 1.25, 2.50, 5.00, 85),
    "Qwen3-32B": (64, 8, 256, 1.00, 2.00, 4.00, 8.00, 136),
    "Qwen3-30B-A3B": (48, 4, 96, 0.38, 0.75, 1.50, 3.00, 51),
    "Llama-3.1-8B": (32, 8, 128, 0.50, 1.00, 2.00, 4.00, 68),
    "Llama-3.2-3B": (28, 8, 112, 0.44, 0.88, 1.75, 3.50, 59.5),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_cache_weighs_what_the_table_says(name: str) -> None:
    layers, heads, kib, *gib, kib_q8 = TABLE[name]
    facts = dense(int(layers), int(heads))
    assert per_token(facts) == kib * 1024
    assert per_token(facts, "q8_0") == kib_q8 * 1024
    for context, wanted in zip((4096, 8192, 16384, 32768), gib, strict=True):
        exact = memory.kv_bytes(facts, context=context)
        assert exact == kib * 1024 * context
        # The table is rounded to two digits.
        assert exact / GIB == pytest.approx(wanted, abs=0.0051)


@pytest.mark.parametrize(
    ("model", "kib"),
    [
        ("smollm2-135m", 22.5),
        ("gpt-oss-20b", 24),  # 12 of 24 layers, 8 heads of 64
        ("qwen3.5-9b", 32),  # 8 of 32 layers, 4 heads of 256
        ("qwen3.6-35b-a3b", 20),  # 10 of 40 layers, 2 heads of 256
        ("gemma-4-26b-a4b", 20),  # 5 of 30 layers, 2 heads of 512
        ("lfm2.5-8b-a1b", 12),  # 6 of 24 layers, 8 heads of 64
    ],
)
def test_a_token_of_a_catalogued_model_costs_what_its_configuration_says(model: str, kib: float) -> None:
    entry = CATALOG.model(model)
    assert entry is not None
    assert entry.gguf is not None
    assert per_token(entry.gguf) == kib * 1024


# What the engine printed for SmolLM2 135M: context, MiB of cache at f16, at q8_0, MiB of compute buffer at f16.
PRINTED = [
    (512, 11.25, 5.98, 15.14),
    (1024, 22.50, 11.95, 15.64),
    (2048, 45.00, 23.91, 16.64),
    (4096, 90.00, 47.81, 18.64),
    (8192, 180.00, 95.62, 22.64),
]


@pytest.mark.parametrize(("context", "f16", "q8_0", "compute"), PRINTED)
def test_the_buffers_are_those_that_the_engine_printed(context: int, f16: float, q8_0: float, compute: float) -> None:
    model = CATALOG.model("smollm2-135m")
    assert model is not None
    assert model.gguf is not None
    # 0.01: what is printed is rounded to two digits.
    assert memory.kv_bytes(model.gguf, context=context) / MIB == pytest.approx(f16, abs=0.01)
    quantised = memory.kv_bytes(model.gguf, context=context, kv_type="q8_0")
    assert quantised / MIB == pytest.approx(q8_0, abs=0.01)
    assert memory.compute_bytes(model.gguf, context=context) / MIB == pytest.approx(compute, abs=0.25)


# Compute buffers that the engine printed for llama-shaped models of one's own making (vocabulary 49152, f16), at
# context 512 and 4096: embedding, feed-forward width, MiB, MiB.
SHAPES = [
    (1024, 1024, 12.52, 16.02),
    (1024, 3072, 28.52, 32.02),
    (2048, 6144, 56.52, 60.02),
    (2048, 8192, 68.52, 72.02),
    (2048, 11008, 85.02, 88.52),
]


@pytest.mark.parametrize(("embedding", "width", "short", "long"), SHAPES)
def test_the_compute_buffer_follows_the_shape_of_the_model(
    embedding: int, width: int, short: float, long: float
) -> None:
    facts = dense(2, 8, embedding=embedding, feed_forward=width, heads=16, vocab=49152)
    # Never less than the engine takes; more by the logits, and where attention is the wider part by a quarter.
    for context, printed in ((512, short), (4096, long)):
        assert printed - 0.05 <= memory.compute_bytes(facts, context=context) / MIB <= printed * 1.35


# Compute buffers that public projects printed with long contexts: model, context, cache, MiB on the device.
LONG = [
    ("qwen3.8-27b", 32_768, "f16", 154),
    ("qwen3.8-27b", 200_192, "q8_0", 655),
    ("qwen3.6-35b-a3b", 135_168, "q8_0", 574),
    ("gemma-4-26b-a4b", 262_144, "q8_0", 1888),
]


@pytest.mark.parametrize(("name", "context", "kv_type", "printed"), LONG)
def test_the_buffers_for_a_long_context_and_a_quantised_cache_are_not_taken_as_small(
    name: str, context: int, kv_type: memory.KvType, printed: int
) -> None:
    model = CATALOG.model(name)
    assert model is not None
    assert model.gguf is not None
    told = memory.compute_bytes(model.gguf, context=context, kv_type=kv_type, on_device=True) / MIB
    assert 0.95 * printed <= told <= 1.6 * printed


def test_a_draft_block_costs_states_a_cache_and_a_buffer_of_its_own() -> None:
    model = CATALOG.model("qwen3.8-27b")
    assert model is not None
    assert model.gguf is not None
    plain, drafting = (
        memory.estimate(model.gguf, model.size, memory.Serving(32_768, drafts=drafts)).device for drafts in (0, 3)
    )
    # 598 MiB of state and 128 MiB of cache are reported for three drafts.
    assert drafting.state / MIB == pytest.approx(598.5, abs=0.1)
    assert (drafting.kv - plain.kv) / MIB == 128
    assert drafting.compute == 2 * plain.compute


def test_requests_at_once_have_a_cache_and_a_state_each() -> None:
    facts = dense(64, 4, pattern="rrrf", recurrent=Recurrent(conv_kernel=4, inner_size=64, state_size=8, group_count=1))
    one, four = (memory.estimate(facts, GIB, memory.Serving(4096, sequences=many)).device for many in (1, 4))
    assert (four.kv, four.state) == (4 * one.kv, 4 * one.state)


def test_experts_that_stay_behind_are_in_main_memory_and_each_card_has_its_margin() -> None:
    facts = dense(32, 8)
    need = memory.estimate(facts, 8 * GIB, memory.Serving(4096, host_experts=5 * GIB, devices=2), margin=GIB)
    assert need.host.weights == 5 * GIB
    assert need.device.weights == 3 * GIB
    assert need.margin == 2 * GIB


def test_a_window_costs_its_width_and_one_batch_and_no_more() -> None:
    facts = dense(24, 8, head=64, pattern="wf", window=128)
    growing = 12 * 8 * 128 * 2
    assert per_token(facts) == growing
    # 128 tokens and a batch of 512, rounded up to whole groups of 256 cells.
    assert memory.kv_bytes(facts, context=32768) == growing * 32768 + growing * 768
    assert memory.kv_bytes(facts, context=512) == 2 * growing * 512


def test_windowed_layers_use_heads_of_their_own_size() -> None:
    facts = dense(6, 1, head=512, pattern="wwwwwf", window=1024, window_key_length=256, window_value_length=256)
    wide = facts.model_copy(update={"kv_heads": (8, 8, 8, 8, 8, 1)})
    assert memory.kv_bytes(wide, context=8192) == 8192 * 1024 * 2 + 5 * 1536 * 8 * 512 * 2


def test_layers_that_share_a_cache_cost_nothing() -> None:
    assert memory.kv_bytes(dense(4, 8, pattern="ffss"), context=4096) == memory.kv_bytes(dense(2, 8), context=4096)


def test_recurrent_layers_cost_a_state_that_does_not_grow() -> None:
    state = Recurrent(conv_kernel=4, inner_size=6144, state_size=128, group_count=16)
    facts = dense(64, 4, head=256, pattern="rrrf", recurrent=state)
    assert per_token(facts) == 64 * 1024
    # 149.625 MiB is what Qwen3.5 27B is reported to hold for each request.
    assert memory.state_bytes(facts) == 156_893_184
    assert memory.estimate(facts, GIB, memory.Serving(4096)).device.state == 156_893_184


def test_compressed_attention_keeps_one_row_for_keys_and_values() -> None:
    assert per_token(dense(61, 1, head=576, latent=576)) == 61 * 576 * 2


@pytest.mark.parametrize(("kind", "thirty_two"), [("f16", 64), ("q8_0", 34)])
def test_a_block_of_cached_elements_takes_what_ggml_takes(kind: memory.KvType, thirty_two: int) -> None:
    assert per_token(dense(1, 1, head=32), kind) == 2 * thirty_two


def test_the_layers_are_on_the_device_or_in_main_memory_and_the_input_table_always_is() -> None:
    facts = dense(32, 8, input_bytes=MIB)
    none, whole = (memory.estimate(facts, 4 * GIB, memory.Serving(4096), on_device=there) for there in (False, True))
    assert none.device_total == 0
    assert none.host.weights == 4 * GIB
    assert none.host.kv == whole.device.kv
    assert none.host_total == none.host.total + memory.MARGIN
    assert whole.device.weights == 4 * GIB - MIB
    assert whole.device_total == whole.device.total + memory.MARGIN
    assert whole.host_total == MIB


def test_a_small_device_keeps_half_the_margin() -> None:
    assert memory.margin_for(4 * GIB) == 512 * MIB
    assert memory.margin_for(6 * GIB) == GIB


@given(
    st.sampled_from([model.gguf for model in CATALOG.models if model.gguf]),
    st.integers(256, 200_000),
    st.booleans(),
)
def test_more_context_never_needs_less(facts: Gguf, context: int, on_device: bool) -> None:
    def needed(tokens: int) -> int:
        need = memory.estimate(facts, GIB, memory.Serving(tokens), on_device=on_device)
        return need.device_total + need.host_total

    assert needed(context) <= needed(context + 256)
