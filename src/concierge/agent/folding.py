"""A conversation that outgrows the model's context: old results are shortened, then the oldest steps become a note.

What teaches the model, the task and the last step stay as they are; the journal keeps everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from concierge.agent.budget import estimated_tokens
from concierge.agent.events import Folded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from concierge.agent.protocols.port import Spec
    from concierge.chat.port import Message

ANSWER_TOKENS = 2048
"""Room that is left for an answer, or a quarter of a smaller context."""
SHORT_CHARS = 300
NOTE_CHARS = 1_200


class Fixed(NamedTuple):
    """What stays in its place.

    Attributes:
        taught: So many messages at the beginning.
        task: The number of the message that is the task.
    """

    taught: int
    task: int

    def __contains__(self, index: object) -> bool:
        """Tell whether a message stays."""
        return index == self.task or (isinstance(index, int) and index < self.taught)


def folding(
    messages: Sequence[Message], fixed: Fixed, step: int, context: int | None, tools: Sequence[Spec]
) -> Folded | None:
    """Return how to make the messages fit before the next question; None while they do.

    Half of the context is then free, so that this happens seldom: a server reads everything behind a change again.
    """
    if context is None or _tokens(messages, tools) <= context - min(ANSWER_TOKENS, context // 4):
        return None
    groups = _groups(messages, fixed)
    folds = (Folded(step=step, dropped=n, note=_note(messages, groups[:n])) for n in range(max(1, len(groups))))
    able = (fold for fold in folds if _tokens(folded(messages, fixed, fold)[0], tools) <= context // 2)
    last = max(0, len(groups) - 1)
    return next(able, Folded(step=step, dropped=last, note=_note(messages, groups[:last])))


def folded(messages: Sequence[Message], fixed: Fixed, fold: Folded) -> tuple[list[Message], int]:
    """Return the messages as they are then, and which of them is the task."""
    groups = _groups(messages, fixed)
    gone = {index for group in groups[: fold.dropped] for index in group}
    last = groups[-1] if groups else ()
    kept: list[Message] = []
    where = 0
    noted = not fold.note
    for index, message in enumerate(messages):
        if index in gone:
            if not noted and index > fixed.task:
                kept.append({"role": "user", "content": fold.note})
                noted = True
            continue
        if index == fixed.task:
            where = len(kept)
        kept.append(message if index in fixed or index in last else _short(message))
    if not noted:
        kept.insert(where, {"role": "user", "content": fold.note})
        where += 1
    return kept, where


def merged(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with neighbouring turns of the user as one: many chat templates want them to alternate."""
    joined: list[Message] = []
    for message in messages:
        if joined and message["role"] == joined[-1]["role"] == "user":
            joined[-1] = {"role": "user", "content": f"{joined[-1]['content']}\n\n{message['content']}"}
        else:
            joined.append(message)
    return joined


def _tokens(messages: Sequence[Message], tools: Sequence[Spec]) -> int:
    return estimated_tokens([*messages, *tools])


def _groups(messages: Sequence[Message], fixed: Fixed) -> list[list[int]]:
    """Return the messages beside system text and task by number: an answer goes with what came back."""
    groups: list[list[int]] = []
    for index, message in enumerate(messages):
        if index in fixed:
            continue
        if not groups or message["role"] == "assistant":
            groups.append([])
        groups[-1].append(index)
    return groups


def _short(message: Message) -> Message:
    text = message.get("content") or ""
    if len(text) <= SHORT_CHARS:
        return message
    return {**message, "content": f"{text[: SHORT_CHARS * 2 // 3]} […] {text[-SHORT_CHARS // 3 :]}"}


def _note(messages: Sequence[Message], groups: Sequence[Sequence[int]]) -> str:
    """Return what was done in the steps that are left out."""
    done = [told for group in groups for index in group if (told := _told(messages[index]))]
    if not done:
        return ""
    return f"[Earlier steps, in short:\n{chr(10).join(done)[-NOTE_CHARS:]}]"


def _told(message: Mapping[str, object]) -> str:
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        return "\n".join(f"- {call['function']['name']} {call['function']['arguments'][:120]}" for call in calls)
    text = " ".join(str(message.get("content") or "").split())
    return f"- {text[:160]}" if text else ""
