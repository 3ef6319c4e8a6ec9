"""The server that deploy hands over."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.plan.words import Deployed
from concierge.store import manifest

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Engine, Launcher
    from concierge.platforms import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec(Deployed):
    """The server that deploy hands over: its bytes are in the store already, and equal specs mean equal servers.

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

    @property
    def entries(self) -> tuple[Path, Path]:
        """The entries of the store that it needs."""
        return self.engine_root, self.model_path.parent

    @property
    def whole(self) -> bool:
        """Whether its bytes are there and as they were sealed, as far as a glance shows."""
        return all(map(manifest.whole, self.entries)) and self.model_path.is_file()

    @property
    def digest(self) -> str:
        """Digest of what is wanted: equal digests are the same bytes served in the same way."""
        wanted: dict[str, object] = {
            "engine": [self.engine, self.launcher, self.accelerator, self.engine_sha256, self.executable],
            "model": [self.model, self.model_sha256],
            "context": self.context,
            "parameters": self.parameters,
        }
        # Whoever serves what was damaged and brought again serves other bytes.
        if again := sum(known.again for known in map(manifest.read, self.entries) if known is not None):
            wanted["again"] = again
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
