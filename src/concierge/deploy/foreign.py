"""Describe a model that is not in the catalogue: its size, its hash and what its header says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from concierge.catalog.types import Model
    from concierge.deploy.reference import Hub, Local


class Describe(Protocol):
    """Turns a reference into a model that can be locked."""

    def __call__(self, wanted: Hub | Local) -> Model:
        """Return the model with its sources, sizes and hashes.

        Raises:
            ConfigError: There is no such file, or it is not a GGUF file.
            FetchError: Its repository did not answer.
        """
        ...
