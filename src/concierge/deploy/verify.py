"""Whether this machine is in the state that its generation says, every byte read; and one digest to compare it by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concierge.store import manifest
from concierge.store.leftovers import ENTRY
from concierge.store.nar import sri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from concierge.deploy.generation import Generation
    from concierge.store.manifest import Fault

OWN = frozenset(("threads", "cache_ram", "cpu_moe", "split_mode", "main_gpu"))
"""Parameters that fit a server to one machine: how much of it is used, and where. They are not of the state."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One entry of the store, every byte read.

    Attributes:
        nar: Its hash, as ``nix hash path`` prints it; None where it cannot be had.
    """

    entry: Path
    nar: str | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found.

    Attributes:
        generation: The number of the current generation.
        digest: The state digest; None where something that the generation needs is not as it was brought.
    """

    generation: int | None
    digest: str | None
    entries: tuple[Examined, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong."""
        return tuple(fault for each in self.entries for fault in each.faults)

    def as_dict(self) -> dict[str, Any]:
        """Return it as the object that ``--json`` prints."""
        entries = [
            {
                "entry": str(each.entry),
                "nar": each.nar,
                "faults": [{"path": str(fault.path), "what": fault.what} for fault in each.faults],
            }
            for each in self.entries
        ]
        return {"whole": not self.faults, "digest": self.digest, "generation": self.generation, "entries": entries}


def verify(current: Generation | None, store: Path, *, everything: bool = False) -> Verified:
    """Read every byte that the current generation needs, or that the store holds."""
    needed = () if current is None else current.spec.entries
    wanted = dict.fromkeys((*needed, *(entries(store) if everything else ())))
    found = {entry: _examined(entry) for entry in wanted}
    digest = None if current is None else state_digest(current, [found[entry] for entry in needed])
    return Verified(None if current is None else current.number, digest, tuple(found.values()))


def entries(store: Path) -> Iterator[Path]:
    """Yield the entries of a store, in order."""
    if store.is_dir():
        yield from sorted(entry for entry in store.iterdir() if ENTRY.fullmatch(entry.name) and entry.is_dir())


def state_digest(generation: Generation, examined: Iterable[Examined]) -> str | None:
    """Return the sha256 over what is served and how: the same on every machine that is in the same state."""
    parts = list(examined)
    if any(each.faults or each.nar is None for each in parts):
        return None
    spec = generation.spec
    state = {
        "engine": {"build": spec.build, "launcher": spec.launcher, "executable": spec.executable, "nar": parts[0].nar},
        "model": {"name": spec.model, "file": spec.model_path.name, "nar": parts[-1].nar},
        "context": spec.context,
        "parameters": {name: value for name, value in spec.parameters if name not in OWN},
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _examined(entry: Path) -> Examined:
    faults, nar = manifest.examine(entry)
    return Examined(entry, None if nar is None else sri(nar), tuple(faults))
