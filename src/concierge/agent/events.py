"""What can happen in a run: one frozen class per kind, and the journal line of each.

The conversation is not stored beside the events: it *is* the events (see ``conversation``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from concierge.documents import SCHEMA
from concierge.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["running", "done", "stopped", "failed", "interrupted", "unreadable"]
"""How a run stands; the first and the last are a reader's words and stand in no journal."""

CallStatus = Literal["ok", "error", "bad_call"]
"""``error``: the tool said no. ``bad_call``: the call itself was malformed, and the model may mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every journal line has.

    Attributes:
        ts: UTC time, ISO 8601 with microseconds.
        id: The run's.
        seq: 0, 1, 2, … without a gap.
    """

    kind: ClassVar[str]

    ts: str = ""
    id: str = ""
    seq: int = -1

    def as_dict(self) -> dict[str, Any]:
        """Return the object of the journal line."""
        return {"ts": self.ts, "id": self.id, "seq": self.seq, "kind": self.kind, **self.own()}

    def own(self) -> dict[str, Any]:
        """Return what only events of this kind have."""
        shared = {item.name for item in fields(Event)}
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in shared}


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
        protocol: How the model is taught to act: ``native``, ``shell`` or ``json``; empty where it has no tools.
        taught: How many of the messages teach that: the system text, and examples as turns.
        folder: Where the tools work.
        continues: The run whose conversation this one goes on with; empty for a new one.
        schema: By which the journal is to be read.
    """

    kind = "run_started"

    task: str
    model: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    temperature: float | None
    limits: Mapping[str, Any]
    versions: Mapping[str, str]
    protocol: str = "native"
    taught: int = 0
    folder: str = ""
    continues: str = ""
    schema: int = SCHEMA


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
        in_text: The calls were found in the text, where the server should have told them apart.
        answer: What of the text is the answer, where that is not all of it; null otherwise.
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
    in_text: bool = False
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Misread(Event):
    """An answer tried to act and could not be read, or ended before anything was done: the model is told so.

    Attributes:
        step: Which answer.
        text: What the model is told.
        taken_back: The model does not see that answer again: a small one would only repeat it.
    """

    kind = "reply_misread"

    step: int
    text: str
    taken_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded(Event):
    """The conversation would not have fitted into the model's context any more.

    Results before the last step were shortened, and the oldest steps are left out of what is sent.

    Attributes:
        step: The answer before which this happened.
        dropped: How many steps are left out: the oldest, each an answer with its results.
        note: What the model is told instead of them.
    """

    kind = "history_folded"

    step: int
    dropped: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOff(Event):
    """An answer ended before its end: Ctrl-C, the run's time, or a server that died. What had arrived is kept.

    Attributes:
        step: Which answer it would have been.
        text: What had arrived of it.
        reasoning: What had arrived of its thinking.
        usage: Tokens of it, estimated: the server's own count comes last.
        seconds: Time from request to cut.
    """

    kind = "answer_cut"

    step: int
    text: str
    reasoning: str
    usage: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsRefused(Event):
    """The server takes no tools for this model; the run goes on with another protocol, or without tools.

    Attributes:
        step: The answer that was asked for.
        error: What the server said.
        protocol: How the model acts from here on; empty where it has no tools.
        messages: What teaches it; empty likewise.
    """

    kind = "tools_refused"

    step: int
    error: Mapping[str, Any]
    protocol: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()


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
class RunResult(Event):
    """The run ended: its last line, and what ``result.json`` and ``run --json`` hold.

    A reader also makes one, which stands in no file, for a run without an end (see ``ending``).

    Attributes:
        status: ``done`` is success and nothing else.
        reason: The word for why it ended so.
        text: The answer when done; otherwise the last text that the model wrote.
        steps: Answers that the model gave.
        usage: Tokens of the whole run.
        seconds: Wall time of the whole run.
        model: The name that was asked for.
        error: The error as an object, unless done.
    """

    kind = "run_ended"

    status: Status
    reason: str
    text: str
    steps: int
    usage: Mapping[str, Any]
    seconds: float
    model: str
    error: Mapping[str, Any] | None

    @property
    def exit_code(self) -> int:
        """What a command that ends with this run exits with."""
        return 0 if self.error is None else int(self.error.get("exit_code", 1))


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (Started, Asked, Replied, Misread, Folded, CutOff, ToolsRefused, ToolCalled, ToolReturned, RunResult)
}
"""Every kind that a journal may hold."""

OTHER_RELEASE = "Read it with the release of concierge that wrote it."


def from_dict(line: Mapping[str, Any]) -> Event:
    """Return the event of one journal line.

    Raises:
        RunError: Another release wrote it: the schema or the kind is unknown, or the fields are others.
    """
    data: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in line.items()}
    kind = data.pop("kind", None)
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise RunError(f"A journal line has the unknown kind {kind!r}.", hint=OTHER_RELEASE)
    if data.get("schema", SCHEMA) != SCHEMA:
        raise RunError(f"The journal follows schema {data['schema']}, and this release {SCHEMA}.", hint=OTHER_RELEASE)
    try:
        return cls(**data)
    except TypeError as error:
        what = f"A `{kind}` line of the journal has other fields than this release writes: {error}."
        raise RunError(what, hint=OTHER_RELEASE) from None
