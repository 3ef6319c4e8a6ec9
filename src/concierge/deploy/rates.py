"""What was measured on this machine: ``$CONCIERGE_HOME/measured.json``. What cannot be read was not measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from concierge import files, jsontext, paths
from concierge.plan.words import Rate

if TYPE_CHECKING:
    from concierge.paths import Home

SCHEMA = 1
KEPT = 32
"""Servers whose rates are kept: the newest."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known by measuring.

    Attributes:
        reads_gb_s: GB/s of main memory that all cores read together; None when it was not measured.
        rates: What servers did, the newest last.
    """

    reads_gb_s: float | None = None
    rates: tuple[Rate, ...] = ()

    @property
    def tuned(self) -> bytes:
        """What was tuned, as bytes: a plan that was made without it does not answer with it."""
        kept = [asdict(rate) for rate in self.rates if rate.tuned]
        return json.dumps([self.reads_gb_s, kept], sort_keys=True).encode() if kept else b""

    def having(self, rate: Rate) -> Measured:
        """Return the same with one more rate, which takes the place of one of the same server."""
        key = (rate.engine_sha256, rate.model_sha256, rate.tuned)
        others = (other for other in self.rates if (other.engine_sha256, other.model_sha256, other.tuned) != key)
        return replace(self, rates=(*others, rate)[-KEPT:])


def load(home: Home) -> Measured:
    """Return what was measured; nothing where the file is not there or cannot be read."""
    try:
        document = jsontext.parse(home.measured.read_bytes())
        if document.pop("schema") != SCHEMA:
            return Measured()
        reads = document["reads_gb_s"]
        rates = tuple(
            Rate(**{**each, "parameters": tuple((name, value) for name, value in each["parameters"])})
            for each in document["rates"]
        )
        return Measured(None if reads is None else float(reads), rates)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Measured()


def save(home: Home, measured: Measured) -> None:
    """Write what was measured.

    Raises:
        StoreError: It cannot be written.
    """
    file = home.measured
    with files.storing(file):
        paths.make(home.root, home.root)
        document = {
            "schema": SCHEMA,
            "reads_gb_s": measured.reads_gb_s,
            "rates": [asdict(each) for each in measured.rates],
        }
        files.replace(file, f"{json.dumps(document, indent=2)}\n".encode())
