"""The step loop: ask, do what the answer calls for, ask again, until an answer calls for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from concierge import __version__
from concierge.agent.budget import Budget, Watch, check_answer
from concierge.agent.conversation import Conversation, as_written, opening, utf8
from concierge.agent.ending import ended
from concierge.agent.events import (
    Asked,
    CutOff,
    Event,
    Misread,
    Replied,
    Started,
    ToolCalled,
    ToolReturned,
    ToolsRefused,
)  # fmt: skip
from concierge.agent.protocols.choose import able
from concierge.agent.protocols.port import Reading
from concierge.chat.port import identified
from concierge.errors import ConciergeError, RunError, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from concierge.agent.events import CallStatus, RunResult
    from concierge.agent.journal import Journal
    from concierge.agent.protocols.port import Spec
    from concierge.agent.task import Task
    from concierge.agent.tools import Tools
    from concierge.chat.port import ChatClient, ChatOptions, Delta, Message, OnDelta, Reply


REPEATED = "You have just done this, and the result was the same. If the task is done, answer in plain text."
FINISH = "You have done this already. Answer the user now, in one plain sentence, and do nothing else."


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
        self._said = Conversation()
        self._tools: tuple[Spec, ...] = ()
        self._watch = Watch()
        self._events: list[Event] = []
        self._call_ids: set[str] = set()
        self._finishing = False
        self._last = ""

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
            replied, reading = await self._ask()
            if self._finishing or not (reading.malformed or replied.tool_calls):
                self._watch.check_ended(reading.text)
                return
            if reading.malformed:
                self._emit(Misread(step=replied.step, text=f"Error: {reading.malformed}"))
                self._watch.saw("", replied.text, reading.malformed, bad=True)
            for number, call in enumerate(replied.tool_calls, start=1):
                await self._act(call, number)

    def _start(self) -> None:
        self._tools = self._toolbox.specs() if self._toolbox else ()
        self._protocol = able(self._task.protocol, self._tools)
        overview = self._toolbox.overview(self._task.text) if self._toolbox else ""
        self._emit(
            Started(
                task=utf8(self._task.text),
                model=self._task.model,
                messages=opening(self._task, self._tools, self._protocol, overview=overview),
                tools=self._tools,
                temperature=self._task.temperature,
                limits=asdict(self._task.limits),
                versions={"concierge": __version__, "python": platform.python_version(), **self._versions},
                protocol=self._protocol.name if self._tools else "",
                folder=self._toolbox.folder if self._toolbox else "",
            )
        )

    async def _ask(self) -> tuple[Replied, Reading]:
        step = self._budget.steps + 1
        sent = (*self._said.messages, *self._tools)
        max_tokens = self._budget.before_asking(sent)
        self._emit(Asked(step=step, messages=len(self._said.messages), max_tokens=max_tokens))
        asked = self._clock()
        try:
            reply = await self._chat_with_tools_if_taken(step, max_tokens)
        except BaseException:
            self._keep_cut(step, sent, asked)
            raise
        took = self._budget.charge(sent, reply)
        reading = self._read(reply)
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

    def _read(self, reply: Reply) -> Reading:
        if not self._tools:
            return Reading(str(reply), reply.tool_calls)
        reading = self._protocol.read(reply, self._tools, last=self._last)
        return Reading(self._protocol.plain(reply)) if self._finishing else reading

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
            self._without_native_tools(step, error)
            return await self._request(max_tokens)

    def _without_native_tools(self, step: int, error: StatusError) -> None:
        """Go on with shell commands, which no server must know of, or without tools."""
        self._protocol = able("shell", self._tools)
        self._tools = self._tools if self._protocol.name == "shell" else ()
        taught = (self._protocol.name, self._protocol.system(self._tools)) if self._tools else ("", "")
        self._emit(ToolsRefused(step=step, error=error.as_dict(), protocol=taught[0], system=taught[1]))

    async def _request(self, max_tokens: int | None) -> Reply:
        self._arrived.clear()
        options: ChatOptions = self._protocol.options(self._tools) if self._tools else {}
        options["temperature"] = self._task.temperature
        options["max_tokens"] = max_tokens
        options["on_delta"] = self._on_delta
        return await self._chat.chat(self._said.messages, self._task.model, **options)

    async def _act(self, call: Mapping[str, str], number: int) -> None:
        step, call_id, tool, arguments = self._budget.steps, call["id"], call["name"], call["arguments"]
        self._emit(ToolCalled(step=step, call_id=call_id, tool=tool, arguments=arguments))
        began = self._clock()
        status: CallStatus = "ok"
        if again := self._watch.again(tool, arguments):
            # Done once is done: what it does again, and again, is meant as the end.
            text = REPEATED if again == 1 else FINISH
            self._finishing = again > 1
        elif self._toolbox:
            status, text = await self._toolbox.carry_out(tool, arguments, number=number)
        else:
            status, text = "bad_call", "Error: There are no tools. Answer in plain text."
        took = round(self._clock() - began, 3)
        self._last = text
        self._emit(ToolReturned(step=step, call_id=call_id, tool=tool, status=status, text=text, seconds=took))
        self._watch.saw(tool, arguments, text, bad=status == "bad_call")
        # Most tools do not wait; this is where a timeout or Ctrl-C gets in between them.
        await asyncio.sleep(0)

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        self._said.follow(event)
        self._journal.emit(event)

    def _end(self, cause: BaseException | None) -> RunResult:
        return self._journal.end(ended(self._events, cause, seconds=self._seconds()))

    def _seconds(self) -> float:
        return round(self._clock() - self._began, 3)


def _refuses_tools(error: StatusError) -> bool:
    said = error.what.lower()
    return "tool" in said and "support" in said
