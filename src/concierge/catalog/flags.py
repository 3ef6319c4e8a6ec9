"""The serving parameters that change what a server answers, how fast, or how much memory it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.catalog.types import Launcher
    from concierge.platforms import Accelerator

LAUNCHERS: tuple[Launcher, ...] = ("xllamacpp", "llama-server")
"""What ``serve`` can start; a build with another launcher is not a candidate."""

UBATCH = 512
"""Tokens that are computed at once while a prompt is read; the memory formula counts on it."""

BATCH = 2048
"""Tokens that are handed over at once while a prompt is read."""

PARAMETERS: tuple[tuple[str, str], ...] = (("batch", str(BATCH)), ("ubatch", str(UBATCH)))
"""Sorted (name, value) pairs that hold where nothing asks for others."""

ALL_LAYERS = "999"


def prompt_cache_mib(memory: int | None) -> int:
    """Return the MiB of main memory in which the server keeps old prompts: a sixteenth of ``memory``.

    At least 512, at most the server's own default of 8 GiB, which would end smaller machines.
    """
    return min(max((memory or 0) // 16 >> 20, 512), 8192)


def parameters(
    accelerator: Accelerator,
    *,
    kv_type: str = "f16",
    host_layers: int = 0,
    ubatch: int = UBATCH,
    prompt_cache: int = 512,
    threads: int | None = None,
    card: int | None = None,
) -> tuple[tuple[str, str], ...]:
    """Return the parameters on ``accelerator``, sorted.

    All layers go there or none: an engine that chose for itself would move some to the CPU without a word.

    Args:
        accelerator: What computes.
        kv_type: Type of the cached keys and values.
        host_layers: Layers whose experts stay in main memory.
        ubatch: Tokens that are computed at once while a prompt is read.
        prompt_cache: MiB of main memory for old prompts.
        threads: Threads of the CPU, where it computes; None leaves them to the engine.
        card: The one card that is used, by its place among those of its kind; None uses all that there are.
    """
    given = {
        "batch": str(BATCH),
        "cache_ram": str(prompt_cache),
        "gpu_layers": "0" if accelerator == "cpu" else ALL_LAYERS,
        "ubatch": str(ubatch),
    }
    if kv_type != "f16":
        given |= {"cache_type_k": kv_type, "cache_type_v": kv_type}
    if host_layers:
        given["cpu_moe"] = str(host_layers)
    if threads:
        given["threads"] = str(threads)
    if card is not None:
        given |= {"split_mode": "none", "main_gpu": str(card)}
    return tuple(sorted(given.items()))
