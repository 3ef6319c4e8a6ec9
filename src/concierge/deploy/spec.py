"""What deploy hands to serve: a server that could run now, from bytes that are already in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Engine, Launcher
    from concierge.platforms import Accelerator


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The desired state of the server; equal specs mean equal servers.

    Attributes:
        engine_root: The unpacked engine in the store, read-only.
        engine_sha256: Digest of the engine's artefacts, in order.
        executable: Path of the program below ``engine_root``, for launchers that have one.
        model: The name that the server answers to.
        model_path: The GGUF (its first shard) in the store.
        model_sha256: Digest of the model's artefacts, in order.
        context: Tokens that one request may use.
        parameters: Further launcher settings that change behaviour, as (name, value) pairs, sorted.
    """

    engine: Engine
    launcher: Launcher
    accelerator: Accelerator
    engine_root: Path
    engine_sha256: str
    executable: str | None
    model: str
    model_path: Path
    model_sha256: str
    context: int
    parameters: tuple[tuple[str, str], ...] = ()
