"""Whether a device is usable through an accelerator, and which finding explains it when it is not."""

from __future__ import annotations

from dataclasses import dataclass

from concierge.machine.types import Usable


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ``Usable`` with what the doctor says about it.

    Attributes:
        id: The finding's id; empty when there is nothing to report.
        expected: The device cannot do this by its nature, so that nothing is broken.
    """

    usable: Usable
    id: str = ""
    fix: str = ""
    expected: bool = False


def yes(reason: str, evidence: str = "") -> Verdict:
    """Return the verdict that it can be used."""
    return Verdict(Usable(ok=True, reason=reason, evidence=evidence))


def no(finding: str, reason: str, *, evidence: str = "", fix: str = "", expected: bool = False) -> Verdict:
    """Return the verdict that it cannot be used, with the finding that says so."""
    usable = Usable(ok=False, reason=reason, evidence=evidence, fix=fix)
    return Verdict(usable, id=finding, fix=fix, expected=expected)
