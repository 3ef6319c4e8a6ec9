from __future__ import annotations

from typing import Any

import pytest

from concierge.catalog.types import Gguf, Recurrent
from concierge.errors import ArtefactError
from concierge.gguf.facts import facts_of
from concierge.gguf.header import Header, Skipped, Tensor, Value

LLAMA: dict[str, Value] = {
    "block_count": 4,
    "embedding_length": 64,
    "feed_forward_length": 192,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "vocab_size": 100,
}


def facts(architecture: str, changes: dict[str, Any], tensors: tuple[Tensor, ...] = ()) -> Gguf:
    stated = {**LLAMA, **changes}
    metadata = {f"{architecture}.{key}": value for key, value in stated.items() if value is not None}
    metadata["general.architecture"] = architecture
    return facts_of(Header(3, metadata, tensors, 0), name="model.gguf")


def weight(name: str, size: int) -> Tensor:
    return Tensor(name, (64, 100), 0, 0, size)


def test_a_plain_model_attends_with_every_layer_and_heads_share_the_embedding() -> None:
    assert facts("llama", {}) == Gguf(
        architecture="llama",
        layers=4,
        embedding=64,
        vocab=100,
        heads=4,
        kv_heads=2,
        key_length=16,
        value_length=16,
        feed_forward=192,
    )


def test_stated_key_and_value_lengths_win_over_the_embedding() -> None:
    told = facts("qwen3", {"attention.key_length": 128, "attention.value_length": 64})
    assert (told.key_length, told.value_length) == (128, 64)


def test_no_key_value_head_count_means_as_many_as_heads() -> None:
    assert facts("llama", {"attention.head_count_kv": None}).kv_heads == 4


def test_blocks_that_predict_further_tokens_are_not_layers() -> None:
    told = facts("qwen35", {"block_count": 9, "nextn_predict_layers": 1, "full_attention_interval": 4, **SSM})
    assert told.layers == 8
    assert told.pattern == "rrrfrrrf"


SSM: dict[str, Value] = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 256,
    "ssm.state_size": 32,
    "ssm.group_count": 2,
}


def test_a_hybrid_has_the_state_that_its_keys_state() -> None:
    told = facts("qwen35", SSM)
    assert told.pattern == "rrrf"
    assert told.recurrent == Recurrent(conv_kernel=4, inner_size=256, state_size=32, group_count=2)


def test_a_hybrid_that_lists_its_heads_attends_where_it_has_some() -> None:
    assert facts("granitehybrid", {"attention.head_count_kv": (0, 2, 0, 2), **SSM}).pattern == "rfrf"


@pytest.mark.parametrize(
    ("architecture", "changes", "pattern"),
    [
        ("gpt-oss", {}, "wfwf"),
        ("gemma3", {"block_count": 7}, "wwwwwfw"),
        ("somenew", {}, "ffff"),
        ("somenew", {"attention.sliding_window_pattern": 2}, "wfwf"),
        ("gemma4", {"attention.sliding_window_pattern": (True, True, False, True)}, "wwfw"),
        (
            "gemma4",
            {"attention.sliding_window_pattern": (True, False, True, False), "attention.shared_kv_layers": 2},
            "wfss",
        ),
    ],
)
def test_a_window_lies_where_the_file_or_the_engine_says(
    architecture: str, changes: dict[str, Any], pattern: str
) -> None:
    told = facts(architecture, {"attention.sliding_window": 128, **changes})
    assert told.pattern == pattern
    assert told.window == (128 if "w" in pattern else None)


def test_layers_with_a_window_may_have_heads_of_their_own() -> None:
    told = facts(
        "gemma4",
        {
            "attention.sliding_window": 512,
            "attention.sliding_window_pattern": (True, True, True, False),
            "attention.head_count_kv": (8, 8, 8, 1),
            "attention.key_length": 512,
            "attention.value_length": 512,
            "attention.key_length_swa": 256,
            "attention.value_length_swa": 256,
        },
    )
    assert told.kv_heads == (8, 8, 8, 1)
    assert (told.key_length, told.window_key_length, told.window_value_length) == (512, 256, 256)


def test_compressed_attention_is_recognised_only_where_the_file_supports_it() -> None:
    old = {"attention.kv_lora_rank": 512, "attention.key_length": 576, "attention.value_length": 512}
    assert facts("deepseek2", old).latent is None
    assert facts("deepseek2", {**old, "attention.key_length_mla": 192}).latent == 576


def test_a_mixture_reads_only_the_experts_it_uses() -> None:
    told = facts(
        "qwen3moe",
        {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 96},
        (weight("token_embd.weight", 100), weight("output.weight", 100), weight("blk.0.ffn_up_exps.weight", 800)),
    )
    assert (told.experts, told.experts_used, told.feed_forward) == (8, 2, 192)
    assert told.active == pytest.approx((200 + 800 * 2 / 8) / 1000)
    assert told.input_bytes == 100


def test_an_input_table_that_is_also_the_output_is_read_for_every_token() -> None:
    assert facts("llama", {}, (weight("token_embd.weight", 100),)).input_bytes == 0
    per_layer = (weight("token_embd.weight", 100), weight("per_layer_token_embd.weight", 300))
    assert facts("gemma4", {}, per_layer).input_bytes == 300


def test_the_vocabulary_is_counted_from_the_tensor_the_key_or_the_tokens() -> None:
    assert facts("llama", {}, (weight("token_embd.weight", 100),)).vocab == 100
    metadata: dict[str, Value] = {f"llama.{key}": value for key, value in LLAMA.items() if key != "vocab_size"}
    metadata |= {"general.architecture": "llama", "tokenizer.ggml.tokens": Skipped(32_000)}
    assert facts_of(Header(3, metadata, (), 0), name="x").vocab == 32_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"block_count": None}, "block_count is missing"),
        ({"block_count": 0}, "0 layers"),
        ({"attention.head_count": 0}, "0 heads"),
        ({"block_count": "many"}, "block_count is 'many'"),
        ({"block_count": -1}, "block_count is -1"),
        ({"embedding_length": float("nan")}, "embedding_length is nan"),
        ({"attention.head_count_kv": (2, 2)}, "2 of 4 layers"),
        ({"attention.head_count_kv": (2, 2, -2, 2)}, "not a count"),
        ({"vocab_size": None}, "no vocabulary"),
        ({"attention.key_length": 0}, "contradict"),
    ],
)
def test_facts_that_cannot_be_are_refused_in_a_sentence(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtefactError, match="does not tell how much memory") as raised:
        facts("llama", changes)
    assert says in str(raised.value)


def test_a_file_without_an_architecture_is_refused() -> None:
    with pytest.raises(ArtefactError, match="does not name its architecture"):
        facts_of(Header(3, {}, (), 0), name="x")
