"""Progress of a download, as numbers that somebody else draws."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Progress(Protocol):
    """Draws how far one download is."""

    def download(self, name: str, total: int) -> contextlib.AbstractContextManager[Meter]:
        """Open a meter for ``total`` bytes of ``name``; leaving the context ends its line."""
        ...


class Meter(Protocol):
    """One line of progress."""

    def at(self, done: int) -> None:
        """Say that ``done`` bytes have arrived in all."""
        ...


class Silent:
    """Draws nothing."""

    @contextlib.contextmanager
    def download(self, name: str, total: int) -> Iterator[Meter]:  # noqa: ARG002  # the port's signature
        yield self

    def at(self, done: int) -> None:
        pass
