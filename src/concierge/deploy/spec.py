"""What deploy hands to the server: one that could run now, from bytes that are already in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.plan.words import Deployed

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Engine, Launcher
    from concierge.platforms import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec(Deployed):
    """The desired state of the server; equal specs mean equal servers.

    Attributes:
        engine_root: The unpacked engine in the store, read-only.
        executable: Path of the program below ``engine_root``, for launchers that have one.
        model_path: The GGUF (its first shard) in the store.
    """

    engine: Engine
    launcher: Launcher
    accelerator: Accelerator
    engine_root: Path
    executable: str | None
    model_path: Path
