"""A model that says what a test tells it to. See docs/testing.md."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, Unpack, cast

from concierge.chat.port import ChatOptions, Delta, Message, OnDelta, Reply, given


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of ``FakeChat.chat``, as it was at that moment, with the options that said something."""

    messages: list[dict[str, Any]]
    model: str
    options: ChatOptions


Line = str | BaseException | Callable[[Asked], "str | Awaitable[str]"]
"""What the fake answers once: a text or ``Reply``, an error to raise, or a function that makes the answer."""


class FakeChat:
    """A ``ChatClient`` that answers from a script and records what it was asked.

    Args:
        script: One entry for each call, in order. A plain ``str`` is a reply that stopped by itself; a
            ``Reply`` is given as it is; an exception is raised; a function gets the question and returns a
            reply, or an awaitable of one (to wait on an event, for a test of cancellation).

    Attributes:
        asked: Every call so far, with copies of the messages.
        closed: True after ``aclose``.
    """

    def __init__(self, script: Iterable[Line] = ()) -> None:
        self.asked: list[Asked] = []
        self.closed = False
        self._script = iter(script)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Record that the client was closed."""
        self.closed = True

    async def chat(self, messages: Sequence[Message], model: str, **options: Unpack[ChatOptions]) -> Reply:
        """Answer with the next entry of the script; a streamed answer comes word by word.

        Raises:
            AssertionError: The script is used up.
        """
        said = {name: _copied(value) for name, value in given(options).items()}
        asked = Asked([_copied(message) for message in messages], model, cast(ChatOptions, said))
        self.asked.append(asked)
        reply = await self._next(asked)
        if on_delta := options.get("on_delta"):
            _stream(reply, on_delta)
        return reply

    async def _next(self, asked: Asked) -> Reply:
        try:
            line = next(self._script)
        except StopIteration:
            count = len(self.asked)
            raise AssertionError(f"FakeChat was asked {count} times, its script has {count - 1} entries.") from None
        if isinstance(line, BaseException):
            raise line
        if callable(line):
            made = line(asked)
            line = made if isinstance(made, str) else await made
        return line if isinstance(line, Reply) else Reply(line)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list | tuple) else value


def _stream(reply: Reply, on_delta: OnDelta) -> None:
    if reply.reasoning:
        on_delta(Delta(reasoning=reply.reasoning))
    for word in re.findall(r"\s*\S+|\s+$", reply):
        on_delta(Delta(word))
