"""The step loop: ask, do what the answer calls for, ask again, until an answer calls for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from concierge import __version__
from concierge.agent.budget import Budget, Watch, check_answer
from concierge.agent.conversation import as_written, follow, opening, utf8
from concierge.agent.ending import ended
from concierge.agent.events import Asked, CutOff, Event, Replied, Started, ToolCalled, ToolReturned, ToolsRefused
from concierge.chat.port import identified
from concierge.errors import ConciergeError, RunError, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from concierge.agent.events import RunResult
    from concierge.agent.journal import Journal
    from concierge.agent.task import Task
    from concierge.agent.tools import Tools
    from concierge.chat.port import ChatClient, Delta, Message, OnDelta, Reply


class Runner:
    """Runs one task, once; ``clock`` gives seconds that only go forward."""

    def __init__(
        self,
        chat: ChatClient,
        *,
        journal: Journal,
        toolbox: Tools | None,
        on_delta: OnDelta | None = None,
        versions: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chat = chat
        self._journal = journal
        self._toolbox = toolbox
        # Always streamed: a silence is then a stuck server and never a long answer, and what is cut off is here.
        self._tell = on_delta or (lambda _: None)
        self._arrived: list[Delta] = []
        self._versions = versions or {}
        self._clock = clock
        self._messages: list[Message] = []
        self._tools: tuple[Mapping[str, Any], ...] = ()
        self._watch = Watch()
        self._events: list[Event] = []
        self._call_ids: set[str] = set()

    async def run(self, task: Task) -> RunResult:
        """Work on the task until it is answered, stopped, failed or cancelled; the journal then has its last event."""
        self._task = task
        self._budget = Budget(task.limits)
        self._began = self._clock()
        try:
            await self._within_time()
        except ConciergeError as error:
            return self._end(error)
        except BaseException as error:
            # A fault or an interruption is also the business of whoever waits.
            with contextlib.suppress(RunError):
                self._end(error)
            raise
        return self._end(None)

    async def _within_time(self) -> None:
        try:
            async with asyncio.timeout(self._task.limits.max_seconds) as wall:
                await self._steps()
        except TimeoutError:
            if wall.expired():
                raise self._budget.time_spent(self._seconds()) from None
            raise

    async def _steps(self) -> None:
        self._start()
        while True:
            replied = await self._ask()
            if not replied.tool_calls:
                return
            for number, call in enumerate(replied.tool_calls, start=1):
                self._act(call, number)
                # The tools are short and do not wait; this is where a timeout or Ctrl-C gets in between them.
                await asyncio.sleep(0)

    def _start(self) -> None:
        self._tools = self._toolbox.specs() if self._toolbox else ()
        self._emit(
            Started(
                task=utf8(self._task.text),
                model=self._task.model,
                messages=opening(self._task, self._tools),
                tools=self._tools,
                temperature=self._task.temperature,
                limits=asdict(self._task.limits),
                versions={"concierge": __version__, "python": platform.python_version(), **self._versions},
            )
        )

    async def _ask(self) -> Replied:
        step = self._budget.steps + 1
        sent = (*self._messages, *self._tools)
        max_tokens = self._budget.before_asking(sent)
        self._emit(Asked(step=step, messages=len(self._messages), max_tokens=max_tokens))
        asked = self._clock()
        try:
            reply = await self._chat_with_tools_if_taken(step, max_tokens)
        except BaseException:
            self._keep_cut(step, sent, asked)
            raise
        took = self._budget.charge(sent, reply)
        replied = Replied(
            step=step,
            text=utf8(reply),
            reasoning=utf8(reply.reasoning),
            tool_calls=tuple(as_written(call) for call in identified(reply.tool_calls, self._call_ids)),
            finish_reason=reply.finish_reason,
            usage=asdict(took),
            model=reply.model,
            seconds=round(self._clock() - asked, 3),
        )
        self._emit(replied)
        check_answer(reply, self._budget)
        return replied

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

    def _on_delta(self, delta: Delta) -> None:
        self._arrived.append(delta)
        self._tell(delta)

    async def _chat_with_tools_if_taken(self, step: int, max_tokens: int | None) -> Reply:
        try:
            return await self._request(max_tokens)
        except StatusError as error:
            if not (self._tools and step == 1 and _refuses_tools(error)):
                raise
            self._tools = ()
            self._emit(ToolsRefused(step=step, error=error.as_dict()))
            return await self._request(max_tokens)

    async def _request(self, max_tokens: int | None) -> Reply:
        self._arrived.clear()
        return await self._chat.chat(
            self._messages,
            self._task.model,
            tools=self._tools or None,
            temperature=self._task.temperature,
            max_tokens=max_tokens,
            on_delta=self._on_delta,
        )

    def _act(self, call: Mapping[str, str], number: int) -> None:
        step, call_id, tool, arguments = self._budget.steps, call["id"], call["name"], call["arguments"]
        self._emit(ToolCalled(step=step, call_id=call_id, tool=tool, arguments=arguments))
        began = self._clock()
        if self._toolbox:
            status, text = self._toolbox.carry_out(tool, arguments, number=number)
        else:
            status, text = "bad_call", "Error: There are no tools. Answer in plain text."
        took = round(self._clock() - began, 3)
        self._emit(ToolReturned(step=step, call_id=call_id, tool=tool, status=status, text=text, seconds=took))
        self._watch.saw(tool, arguments, text, bad=status == "bad_call")

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        follow(self._messages, event)
        self._journal.emit(event)

    def _end(self, cause: BaseException | None) -> RunResult:
        return self._journal.end(ended(self._events, cause, seconds=self._seconds()))

    def _seconds(self) -> float:
        return round(self._clock() - self._began, 3)


def _refuses_tools(error: StatusError) -> bool:
    said = error.what.lower()
    return "tool" in said and "support" in said
