"""The one server that every agent is measured against: concierge's own, with the installed engine."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import paths
from concierge.deploy.generation import Generations
from concierge.river.river import River

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from concierge.endpoint import Endpoint

CONTEXT = 8192
"""What a small agent must do with, and what a machine without a GPU still reads in bearable time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that answers, and what it is.

    Attributes:
        settings: Variables by which another concierge command finds the same server.
    """

    endpoint: Endpoint
    engine: str
    model_sha256: str
    settings: Mapping[str, str]


@contextlib.contextmanager
def serving(model: str, place: Path) -> Iterator[Served]:
    """Start a server for the model, or use the one that is up; one that was started here is stopped again."""
    named = str(Path(model).absolute()) if model.endswith(".gguf") else model
    chosen = {"llm.model": named, "llm.context": CONTEXT, "llm.measure": False}
    river = River.open(place, chosen, say=lambda line: print(line, file=sys.stderr))
    try:
        with river.using(declared=True) as endpoint:
            current = Generations(paths.home()).current()
            yield Served(
                endpoint=endpoint,
                engine=current.spec.build if current else "",
                model_sha256=current.spec.model_sha256 if current else "",
                settings={"CONCIERGE_LLM_MODEL": named, "CONCIERGE_LLM_CONTEXT": str(CONTEXT)},
            )
    finally:
        river.leave()
