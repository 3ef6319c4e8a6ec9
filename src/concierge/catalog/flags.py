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

PROMPT_CACHE_MIB = 512
"""Main memory in which the server keeps old prompts. Its own default of 8 GiB would end smaller machines."""

PARAMETERS: tuple[tuple[str, str], ...] = (
    ("batch", "2048"),
    ("cache_ram", str(PROMPT_CACHE_MIB)),
    ("ubatch", str(UBATCH)),
)
"""Sorted (name, value) pairs that hold on every machine."""

ALL_LAYERS = "999"


def parameters(accelerator: Accelerator) -> tuple[tuple[str, str], ...]:
    """Return the parameters on ``accelerator``, sorted.

    All layers go there or none: an engine that chose for itself would move some to the CPU without a word.
    """
    layers = "0" if accelerator == "cpu" else ALL_LAYERS
    return tuple(sorted((*PARAMETERS, ("gpu_layers", layers))))
