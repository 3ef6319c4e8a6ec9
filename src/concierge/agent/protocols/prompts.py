"""The texts that teach a model to act: a system text, and examples as the turns that they are made of.

A small model does what it has seen itself do; an example that is only told of, it goes on telling.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.chat.port import Message

_TURN = re.compile(r"^--- (user|assistant)\n", re.MULTILINE)


@cache
def prompt(name: str) -> tuple[Message, ...]:
    """Return the messages of a text that ships with the agent: ``--- user`` and ``--- assistant`` begin turns."""
    text = (Path(__file__).parents[1] / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    roles = ["system", *_TURN.findall(text)]
    return tuple(
        {"role": role, "content": part.strip()} for role, part in zip(roles, _TURN.split(text)[::2], strict=True)
    )
