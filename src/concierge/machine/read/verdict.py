"""Whether a device is usable through an accelerator, and which finding explains it when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.machine.types import Usable

if TYPE_CHECKING:
    from concierge.machine.bundle import Bundle

JOIN_GROUPS = "sudo usermod -aG render,video $USER, then log out and in again"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ``Usable`` with what the doctor says about it.

    Attributes:
        id: The finding's id; empty when there is nothing to report.
        expected: The device cannot do this by its nature, so that nothing is broken.
    """

    usable: Usable
    id: str = ""
    expected: bool = False


def yes(reason: str, evidence: str = "") -> Verdict:
    """Return the verdict that it can be used."""
    return Verdict(Usable(ok=True, reason=reason, evidence=evidence))


def no(finding: str, reason: str, *, evidence: str = "", fix: str = "", expected: bool = False) -> Verdict:
    """Return the verdict that it cannot be used, with the finding that says so."""
    return Verdict(Usable(ok=False, reason=reason, evidence=evidence, fix=fix), id=finding, expected=expected)


def hidden(bundle: Bundle, variable: str) -> Verdict:
    """Return the verdict that an environment variable hides the device from its engines."""
    said = f"{variable}={bundle.environment.get(variable, '')}"
    fix = f"Unset {variable} to use it."
    return no("device-hidden", f"{variable} hides it", evidence=said, fix=fix, expected=True)


def closed(bundle: Bundle, path: str) -> str:
    """Return whose a device node is when this user may not open it, else nothing."""
    node = bundle.access.get(path, {})
    if node.get("read") is not False and node.get("write") is not False:
        return ""
    return f"{path} is {node.get('owner', '?')}:{node.get('group', '?')} {node.get('mode', '')}".strip()
