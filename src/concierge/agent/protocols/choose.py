"""The protocols by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.agent.protocols.forced_json import ForcedJson
from concierge.agent.protocols.native import Native
from concierge.agent.protocols.port import names
from concierge.agent.protocols.shell_block import ShellBlock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.agent.protocols.port import Spec, StepProtocol

PROTOCOLS: Mapping[str, StepProtocol] = {each.name: each for each in (Native(), ShellBlock(), ForcedJson())}


def named(name: str) -> StepProtocol:
    """Return the protocol of that name; what an older journal does not say is ``native``."""
    return PROTOCOLS.get(name) or PROTOCOLS["native"]


def able(name: str, tools: Sequence[Spec]) -> StepProtocol:
    """Return the protocol that a run uses: without a shell among its tools there are no shell commands."""
    return named("native" if name == "shell" and "shell" not in names(tools) else name)
