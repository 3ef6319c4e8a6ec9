"""One question to the model: what is sent, what it may take, what came back, and what that means."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING

from concierge.agent.budget import check_answer
from concierge.agent.conversation import as_written, utf8
from concierge.agent.events import Asked, CutOff, Replied, ToolsRefused
from concierge.agent.protocols.choose import able
from concierge.agent.protocols.port import Reading
from concierge.chat.port import identified
from concierge.errors import RunError, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from concierge.agent.budget import Budget
    from concierge.agent.conversation import Conversation
    from concierge.agent.events import Event
    from concierge.agent.protocols.port import Spec
    from concierge.agent.task import Task
    from concierge.chat.port import ChatClient, ChatOptions, Delta, Message, Reply


class Asking:
    """Asks for one answer at a time; always streamed, so that a silence is a stuck server and never a long answer."""

    def __init__(
        self,
        chat: ChatClient,
        task: Task,
        said: Conversation,
        *,
        tools: tuple[Spec, ...],
        budget: Budget,
        emit: Callable[[Event], None],
        tell: Callable[[Delta], None],
        clock: Callable[[], float],
    ) -> None:
        self._chat, self._task, self._said = chat, task, said
        self._tools, self._protocol = tools, able(task.protocol, tools)
        self._budget, self._emit, self._tell, self._clock = budget, emit, tell, clock
        self._arrived: list[Delta] = []
        self._call_ids: set[str] = set()

    async def ask(self, *, last: str, final: bool) -> tuple[Replied, Reading]:
        """Return the next answer, which follows the result ``last``; a ``final`` one is taken as it is.

        Raises:
            RunStopped: The budget is spent, or the answer is none.
            ServerError: As the client says.
        """
        step = self._budget.steps + 1
        if folded := self._said.folding(step, self._task.context, self._tools):
            self._emit(folded)
        sent = (*self._said.messages, *self._tools)
        max_tokens = self._budget.before_asking(sent)
        self._emit(Asked(step=step, messages=len(self._said.messages), max_tokens=max_tokens))
        asked = self._clock()
        try:
            reply = await self._with_tools_if_taken(step, max_tokens)
        except BaseException:
            self._keep_cut(step, sent, asked)
            raise
        took = self._budget.charge(sent, reply)
        reading = self._read(reply, last, final=final)
        replied = Replied(
            step=step,
            text=utf8(reading.text if reading.calls else reply),
            reasoning=utf8(reply.reasoning),
            tool_calls=tuple(as_written(call) for call in identified(reading.calls, self._call_ids)),
            finish_reason=reply.finish_reason,
            usage=asdict(took),
            model=reply.model,
            seconds=round(self._clock() - asked, 3),
            in_text=reading.in_text,
            answer=utf8(reading.text) if reading.text != reply and not reading.calls else None,
        )
        self._emit(replied)
        check_answer(reply, self._budget)
        return replied, reading

    def _read(self, reply: Reply, last: str, *, final: bool) -> Reading:
        if not self._tools:
            return Reading(str(reply), reply.tool_calls)
        if final:
            return Reading(self._protocol.plain(reply, self._tools))
        return self._protocol.read(reply, self._tools, last=last)

    async def _with_tools_if_taken(self, step: int, max_tokens: int | None) -> Reply:
        try:
            return await self._request(max_tokens)
        except StatusError as error:
            if not (self._tools and step == 1 and _refuses_tools(error)):
                raise
            self._without_native_tools(step, error)
            return await self._request(max_tokens)

    def _without_native_tools(self, step: int, error: StatusError) -> None:
        """Go on with shell commands, which no server must know of, or without tools."""
        self._protocol = able("shell", self._tools)
        self._tools = self._tools if self._protocol.name == "shell" else ()
        name, taught = (self._protocol.name, self._protocol.taught(self._tools)) if self._tools else ("", ())
        self._emit(ToolsRefused(step=step, error=error.as_dict(), protocol=name, messages=taught))

    async def _request(self, max_tokens: int | None) -> Reply:
        self._arrived.clear()
        options: ChatOptions = self._protocol.options(self._tools) if self._tools else {}
        options["temperature"] = self._task.temperature
        options["max_tokens"] = max_tokens
        options["on_delta"] = self._on_delta
        return await self._chat.chat(self._said.messages, self._task.model, **options)

    def _on_delta(self, delta: Delta) -> None:
        self._arrived.append(delta)
        self._tell(delta)

    def _keep_cut(self, step: int, sent: Sequence[Message], asked: float) -> None:
        """Journal what had arrived of an answer that broke off; that it broke off matters more than a full disk."""
        text = "".join(delta.content for delta in self._arrived)
        reasoning = "".join(delta.reasoning for delta in self._arrived)
        if not text and not reasoning:
            return
        took = self._budget.charge_cut(sent, len(text) + len(reasoning))
        took_s = round(self._clock() - asked, 3)
        with contextlib.suppress(RunError):
            self._emit(
                CutOff(step=step, text=utf8(text), reasoning=utf8(reasoning), usage=asdict(took), seconds=took_s)
            )


def _refuses_tools(error: StatusError) -> bool:
    said = error.what.lower()
    return "tool" in said and "support" in said
