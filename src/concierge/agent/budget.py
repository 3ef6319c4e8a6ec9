"""What a run may spend and how it may go wrong, each with its own word for stopping it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from concierge.agent.task import Limits, Spent
from concierge.errors import RunStopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.chat.port import Message, Reply

StopReason = Literal["max_steps", "max_tokens", "max_seconds", "bad_calls", "loop", "length", "filtered", "empty"]

CHARS_PER_TOKEN = 3.5
"""English prose in the tokenizers of the field; only used when the server does not count."""

OTHER_PER_TOKEN, WIDE_PER_TOKEN = 2.2, 1.3
"""Letters beyond ASCII, such as Cyrillic; and characters that are words or syllables, such as Chinese."""

CAPPED_BELOW = 4096
"""Hosted servers refuse a ``max_tokens`` above what a model can write, so only a nearly spent budget is sent."""

BAD_CALLS = 3
"""A model that cannot mend its call in three tries does not mend it in ten."""

SAME_CALLS = 4
"""Reading a file again after a write is work; the same call with the same result four times in a row is not."""


class GuardStopped(RunStopped):
    """A run was stopped, with the bound that it met and the value that met it."""

    def __init__(self, what: str, *, reason: StopReason, limit: float, value: float, hint: str | None = None) -> None:
        super().__init__(what, reason=reason, hint=hint)
        self.limit = limit
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """Return the error's object, with the word, the bound and the value."""
        own = {"reason": self.reason, "limit": self.limit, "value": self.value}
        return {**super().as_dict(), "error": RunStopped.__name__, **own}


class Budget:
    """Counts steps and tokens of one run against its limits. Wall time is the runner's own timeout."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps = 0
        self.spent = Spent()

    def before_asking(self, sent: Sequence[Message]) -> int | None:
        """Return the most tokens that the next answer may have, or None where the server decides."""
        if self.steps >= self.limits.max_steps:
            raise self._exhausted(f"after {self.steps} steps", "max_steps", self.steps)
        left = self.limits.max_tokens - self.spent.total - estimated_tokens(sent)
        if left < 1:
            raise self.tokens_spent(self.limits.max_tokens - left)
        return left if left < CAPPED_BELOW else None

    def charge(self, sent: Sequence[Message], reply: Reply) -> Spent:
        """Book one answer and return what it took."""
        self.steps += 1
        if reply.usage is not None:
            took = Spent(reply.usage.prompt_tokens, reply.usage.completion_tokens)
        else:
            written = len(reply) + len(reply.reasoning) + sum(len(call.arguments) for call in reply.tool_calls)
            took = Spent(estimated_tokens(sent), round(written / CHARS_PER_TOKEN), estimated=True)
        self.spent += took
        return took

    def charge_cut(self, sent: Sequence[Message], written: int) -> Spent:
        """Book an answer of which so many characters had arrived, and return what it took."""
        took = Spent(estimated_tokens(sent), round(written / CHARS_PER_TOKEN), estimated=True)
        self.spent += took
        return took

    def tokens_spent(self, value: int) -> GuardStopped:
        """Return the stop of a run that has used up its tokens."""
        return self._exhausted(f"at {value} tokens", "max_tokens", value)

    def time_spent(self, seconds: float) -> GuardStopped:
        """Return the stop of a run that has used up its time."""
        return self._exhausted(f"after {seconds:.1f} s", "max_seconds", round(seconds, 3))

    def _exhausted(self, spent: str, limit: StopReason, value: float) -> GuardStopped:
        return GuardStopped(
            f"The run was stopped {spent} without a result.",
            reason=limit,
            limit=getattr(self.limits, limit),
            value=value,
            hint=f"Allow more with run.{limit}, or ask for less at once.",
        )


class Watch:
    """Stops a model that repeats itself or cannot call a tool properly."""

    def __init__(self) -> None:
        self._bad = 0
        self._same = 0
        self._last: tuple[str, str, str] | None = None
        self._call: tuple[str, str] | None = None
        self._repeats = 0
        self._came: Counter[tuple[str, str, str]] = Counter()

    def again(self, tool: str, arguments: str) -> int:
        """Return how many times this very call was made just before, and note it."""
        self._repeats = self._repeats + 1 if (tool, arguments) == self._call else 0
        self._call = (tool, arguments)
        return self._repeats

    def came(self, tool: str, arguments: str, text: str) -> int:
        """Return how many times this call has had this result in the run, and note it."""
        self._came[tool, arguments, text] += 1
        return self._came[tool, arguments, text]

    def check_ended(self, answer: str) -> None:
        """Accept an answer, or stop the run: a model that only repeats its call has none."""
        if self._repeats and not answer.strip():
            raise self._looping(self._call[0] if self._call else "", self._repeats + 1)

    def saw(self, tool: str, arguments: str, result: str, *, bad: bool) -> None:
        """Take note of one call and its result, or stop the run that made one too many."""
        self._bad = self._bad + 1 if bad else 0
        if self._bad >= BAD_CALLS:
            raise GuardStopped(
                f"The model made {self._bad} malformed tool calls in a row.",
                reason="bad_calls",
                limit=BAD_CALLS,
                value=self._bad,
                hint="Use a larger model: this one does not master tools.",
            )
        call = (tool, arguments, result)
        self._same = self._same + 1 if call == self._last else 1
        self._last = call
        if self._same >= SAME_CALLS:
            raise self._looping(tool, self._same)

    @staticmethod
    def _looping(tool: str, times: int) -> GuardStopped:
        return GuardStopped(
            f"The model called `{tool}` {times} times in a row with the same result.",
            reason="loop",
            limit=SAME_CALLS,
            value=times,
            hint="Word the task differently, or use a larger model.",
        )


def estimated_tokens(sent: Sequence[Message]) -> int:
    """Guess how many tokens the messages and tools are."""
    return round(sum(_estimate(json.dumps(part, ensure_ascii=False)) for part in sent))


def _estimate(text: str) -> float:
    plain = len(text.encode("ascii", "ignore"))
    wide = sum(character > "\u2e7f" for character in text) if plain < len(text) else 0
    other = len(text) - plain - wide
    return plain / CHARS_PER_TOKEN + other / OTHER_PER_TOKEN + wide / WIDE_PER_TOKEN


def check_answer(reply: Reply, budget: Budget) -> None:
    """Accept the reply as complete, or stop the run: a cut off or withheld answer is no result."""
    if reply.finish_reason == "length":
        if budget.spent.total >= budget.limits.max_tokens:
            raise budget.tokens_spent(budget.spent.total)
        raise RunStopped(
            "The model's answer was cut off: the context or the answer's limit is full.",
            reason="length",
            hint="Ask for less at once, or give the model more room with llm.context.",
        )
    if reply.finish_reason == "content_filter":
        raise RunStopped("The server withheld the answer.", reason="filtered", hint="Word the task differently.")


def check_said(text: str, reasoning: str) -> None:
    """Accept a text as the answer, or stop the run: an empty one is no result."""
    if not text.strip():
        thought = " after thinking only" if reasoning.strip() else ""
        raise RunStopped(
            f"The model gave an empty answer{thought}.",
            reason="empty",
            hint="Word the task differently, or use a larger model.",
        )
