"""What can happen in a run: one frozen class per kind, and the journal line of each.

The conversation is not stored beside the events: it *is* the events (see ``transcript``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from concierge.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

CallStatus = Literal["ok", "error", "bad_call"]
"""``error``: the tool said no. ``bad_call``: the call itself was malformed, and the model may mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every journal line has.

    Attributes:
        ts: UTC time, ISO 8601 with microseconds.
        run: The run's id.
        seq: 0, 1, 2, … without a gap.
    """

    kind: ClassVar[str]

    ts: str = ""
    run: str = ""
    seq: int = -1

    def as_dict(self) -> dict[str, Any]:
        """Return the object of the journal line."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"ts": own.pop("ts"), "run": own.pop("run"), "seq": own.pop("seq"), "kind": self.kind, **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """The run began.

    Attributes:
        task: The task in the user's words.
        model: The name that the server expects.
        messages: The conversation's opening, as sent.
        tools: The tools that the model is offered, as sent; empty when none are.
        temperature: Sampling temperature; null is the server's default.
        limits: What the run may spend.
        versions: Of concierge, of Python, and of what the caller named.
    """

    kind = "run_started"

    task: str
    model: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    temperature: float | None
    limits: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Event):
    """A request is about to be sent.

    Attributes:
        step: 1 for the first answer.
        messages: How many messages it carries: all so far.
        max_tokens: The most tokens the answer may have; null leaves it to the server.
    """

    kind = "model_asked"

    step: int
    messages: int
    max_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied(Event):
    """The model answered.

    Attributes:
        step: Which answer.
        text: What it wrote.
        reasoning: Its thinking, where the server keeps that apart.
        tool_calls: The calls it asks for: id, name, and arguments exactly as it wrote them.
        finish_reason: As the server said it.
        usage: Tokens of this answer.
        model: The name that the server answered with.
        seconds: Time from request to complete answer.
    """

    kind = "model_replied"

    step: int
    text: str
    reasoning: str
    tool_calls: tuple[Mapping[str, str], ...]
    finish_reason: str | None
    usage: Mapping[str, Any]
    model: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsRefused(Event):
    """The server takes no tools for this model; the run goes on without them.

    Attributes:
        step: The answer that was asked for.
        error: What the server said.
    """

    kind = "tools_refused"

    step: int
    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(Event):
    """A call is about to be carried out.

    Attributes:
        step: The answer that asked for it.
        call_id: Joins the call and its result.
        tool: The name that the model wrote.
        arguments: Exactly as the model wrote them.
    """

    kind = "tool_called"

    step: int
    call_id: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned(Event):
    """A call has its result.

    Attributes:
        step: The answer that asked for it.
        call_id: Joins the call and its result.
        tool: The name that the model wrote.
        status: ``ok``, ``error`` or ``bad_call``.
        text: The result, whole, as the model gets it.
        seconds: How long it took.
    """

    kind = "tool_returned"

    step: int
    call_id: str
    tool: str
    status: CallStatus
    text: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Event):
    """What the four ends share: a run has exactly one of them, as its last line.

    Attributes:
        reason: The word for why it ended so.
        text: The answer when done; otherwise the last text that the model wrote.
        steps: Answers that the model gave.
        usage: Tokens of the whole run.
        seconds: Wall time of the whole run.
        error: The error as an object, unless done.
    """

    reason: str
    text: str
    steps: int
    usage: Mapping[str, Any]
    seconds: float
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Ended):
    """The model answered without calling a tool: the task's result."""

    kind = "run_done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Ended):
    """A budget or a guard ended the run before the task was done."""

    kind = "run_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Ended):
    """An error ended the run."""

    kind = "run_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(Ended):
    """Ctrl-C, a termination signal or a shutdown ended the run."""

    kind = "run_interrupted"


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (Started, Asked, Replied, ToolsRefused, ToolCalled, ToolReturned, Done, Stopped, Failed, Interrupted)
}
"""Every kind that a journal may hold."""


def from_dict(line: Mapping[str, Any]) -> Event:
    """Return the event of one journal line.

    Raises:
        RunError: The kind is unknown or a field is missing; a later release may have written it.
    """
    data: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in line.items()}
    kind = data.pop("kind", None)
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise RunError(f"A journal line has the unknown kind {kind!r}.", hint="Read it with the release that wrote it.")
    try:
        return cls(**data)
    except TypeError as error:
        raise RunError(f"A `{kind}` line of the journal has other fields than this release writes: {error}.") from None
