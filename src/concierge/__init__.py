"""concierge: the same local LLM agent stack on every machine, with one command.

What stands in ``__all__`` is the public part, described in docs/python.md; everything else is private and may change
with any release. Importing this module does nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concierge.agent.events import Event, RunResult
    from concierge.agent.task import Limits
    from concierge.chat.client import OllamaChatClient, OpenAICompatibleChatClient
    from concierge.chat.fake import FakeChat
    from concierge.chat.port import ChatClient, Delta, Reply, ToolCall, Usage
    from concierge.endpoint import Endpoint
    from concierge.errors import ConciergeError
    from concierge.plan.words import Plan
    from concierge.river.river import River

__version__ = "0.1.0"

__all__ = [
    "ChatClient",
    "ConciergeError",
    "Delta",
    "Endpoint",
    "Event",
    "FakeChat",
    "Limits",
    "OllamaChatClient",
    "OpenAICompatibleChatClient",
    "Plan",
    "Reply",
    "River",
    "RunResult",
    "ToolCall",
    "Usage",
    "__version__",
]

_HOMES = {
    "agent.events": ("Event", "RunResult"),
    "agent.task": ("Limits",),
    "chat.client": ("OllamaChatClient", "OpenAICompatibleChatClient"),
    "chat.fake": ("FakeChat",),
    "chat.port": ("ChatClient", "Delta", "Reply", "ToolCall", "Usage"),
    "endpoint": ("Endpoint",),
    "errors": ("ConciergeError",),
    "plan.words": ("Plan",),
    "river.river": ("River",),
}
_HOME = {name: f"concierge.{home}" for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # To a type checker the names above are all there are, so that it finds a misspelled one.

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'concierge' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
