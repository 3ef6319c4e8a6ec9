"""The step loop: ask, do what the answer calls for, ask again, until an answer calls for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from concierge import __version__
from concierge.agent import transcript
from concierge.agent.arguments import BadCallError
from concierge.agent.budget import Budget, Watch, check_answer
from concierge.agent.events import (
    Asked,
    CallStatus,
    Done,
    Ended,
    Event,
    Failed,
    Interrupted,
    Replied,
    Started,
    Stopped,
    ToolCalled,
    ToolReturned,
    ToolsRefused,
)
from concierge.agent.task import Outcome, RunResult, Task
from concierge.chat.toolcalls import identified
from concierge.errors import ConciergeError, InterruptedByUser, RunError, RunStopped, StatusError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from concierge.agent.journal import Journal
    from concierge.chat.port import ChatClient, Delta, Message, Reply, ToolCall

CALLS_PER_ANSWER = 16
"""A model that asks for more at once has lost its way."""

OUTCOMES: dict[type[Ended], Outcome] = {
    Done: "done",
    Stopped: "stopped",
    Failed: "failed",
    Interrupted: "interrupted",
}


class Toolbox(Protocol):
    """The tools of one run."""

    def specs(self) -> tuple[Mapping[str, Any], ...]:
        """Return the tools in the chat-completions format."""
        ...

    def call(self, name: str, arguments: str) -> str:
        """Carry out a call as the model wrote it and return the text for the model."""
        ...


class Runner:
    """Runs one task, once.

    Args:
        chat: The model.
        journal: The run's record; its folder names the run.
        toolbox: The tools to offer; None offers none.
        on_delta: Called with each piece of an answer as it arrives.
        versions: What else the journal should name, such as the engine and its version.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        chat: ChatClient,
        *,
        journal: Journal,
        toolbox: Toolbox | None,
        on_delta: Callable[[Delta], None] | None = None,
        versions: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chat = chat
        self._journal = journal
        self._toolbox = toolbox
        self._on_delta = on_delta
        self._versions = versions or {}
        self._clock = clock
        self._began = 0.0
        self._messages: list[Message] = []
        self._tools: tuple[Mapping[str, Any], ...] = ()
        self._watch = Watch()
        self._text = ""
        self._call_ids: set[str] = set()

    async def run(self, task: Task) -> RunResult:
        """Work on the task until it is answered, stopped or failed; the journal then has its terminal event.

        Raises:
            RunError: The journal cannot be written.
            CancelledError: The run was cancelled; that is journalled as ``run_interrupted``.
        """
        self._task = task
        self._budget = Budget(task.limits)
        self._began = self._clock()
        try:
            text = await self._within_time()
        except RunStopped as stop:
            return self._end(Stopped, stop.reason, stop)
        except ConciergeError as error:
            return self._end(Failed, type(error).__name__, error)
        except Exception as error:
            with contextlib.suppress(RunError):
                self._end(Failed, "crash", error=_crash(error))
            raise
        except BaseException:
            with contextlib.suppress(RunError):
                self._end(Interrupted, "interrupted", InterruptedByUser("The run was interrupted."))
            raise
        self._text = text
        return self._end(Done, "answered")

    async def _within_time(self) -> str:
        limit = self._task.limits.max_seconds
        try:
            async with asyncio.timeout(limit) as wall:
                return await self._steps()
        except TimeoutError:
            if wall.expired():
                raise self._budget.time_spent(self._seconds()) from None
            raise

    async def _steps(self) -> str:
        self._start()
        while True:
            replied = await self._ask()
            if not replied.tool_calls:
                return replied.text
            for number, call in enumerate(replied.tool_calls, start=1):
                self._act(call, number)
                # The tools are short and do not wait; this is where a timeout or Ctrl-C gets in between them.
                await asyncio.sleep(0)

    def _start(self) -> None:
        self._tools = self._toolbox.specs() if self._toolbox else ()
        self._emit(
            Started(
                task=transcript.utf8(self._task.text),
                model=self._task.model,
                messages=transcript.opening(self._task, self._tools),
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
        reply = await self._chat_with_tools_if_taken(step, max_tokens)
        took = self._budget.charge(sent, reply)
        self._text = transcript.utf8(reply)
        replied = Replied(
            step=step,
            text=self._text,
            reasoning=transcript.utf8(reply.reasoning),
            tool_calls=tuple(_call(call) for call in identified(reply.tool_calls, self._call_ids)),
            finish_reason=reply.finish_reason,
            usage=asdict(took),
            model=reply.model,
            seconds=round(self._clock() - asked, 3),
        )
        self._emit(replied)
        check_answer(reply, self._budget)
        return replied

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
        return await self._chat.chat(
            self._messages,
            self._task.model,
            tools=self._tools or None,
            temperature=self._task.temperature,
            max_tokens=max_tokens,
            # Always streamed: a silence is then a stuck server and never a long answer.
            on_delta=self._on_delta or _unheard,
        )

    def _act(self, call: Mapping[str, str], number: int) -> None:
        step, call_id, tool, arguments = self._budget.steps, call["id"], call["name"], call["arguments"]
        self._emit(ToolCalled(step=step, call_id=call_id, tool=tool, arguments=arguments))
        began = self._clock()
        status, text = self._carry_out(tool, arguments, number)
        took = round(self._clock() - began, 3)
        self._emit(ToolReturned(step=step, call_id=call_id, tool=tool, status=status, text=text, seconds=took))
        self._watch.saw(tool, arguments, text, bad=status == "bad_call")

    def _carry_out(self, tool: str, arguments: str, number: int) -> tuple[CallStatus, str]:
        if number > CALLS_PER_ANSWER:
            return "bad_call", f"Error: Too many calls at once. Send at most {CALLS_PER_ANSWER}, then wait."
        if self._toolbox is None:
            return "bad_call", "Error: There are no tools. Answer in plain text."
        try:
            return "ok", self._toolbox.call(tool, arguments)
        except BadCallError as error:
            return "bad_call", f"Error: {error}"
        except ToolError as error:
            return "error", f"Error: {error}"

    def _emit(self, event: Event) -> None:
        self._messages.extend(transcript.messages(event))
        self._journal.emit(event)

    def _end(
        self,
        ended: type[Ended],
        reason: str,
        cause: ConciergeError | None = None,
        *,
        error: Mapping[str, Any] | None = None,
    ) -> RunResult:
        error = cause.as_dict() if cause else error
        result = RunResult(
            run_id=self._journal.folder.id,
            outcome=OUTCOMES[ended],
            reason=reason,
            text=self._text,
            steps=self._budget.steps,
            usage=self._budget.spent,
            seconds=self._seconds(),
            model=self._task.model,
            error=error,
            cause=cause,
        )
        last = ended(
            reason=reason,
            text=result.text,
            steps=result.steps,
            usage=asdict(result.usage),
            seconds=result.seconds,
            error=error,
        )
        return self._journal.end(last, result)

    def _seconds(self) -> float:
        return round(self._clock() - self._began, 3)


def _call(call: ToolCall) -> dict[str, str]:
    return {"id": call.id, "name": transcript.utf8(call.name), "arguments": transcript.utf8(call.arguments)}


def _unheard(_: Delta) -> None:
    """Take a piece that nobody waits for."""


def _refuses_tools(error: StatusError) -> bool:
    said = error.what.lower()
    return "tool" in said and "support" in said


def _crash(error: Exception) -> dict[str, Any]:
    return {
        "error": type(error).__name__,
        "what": str(error),
        "where": None,
        "hint": "This is a fault of concierge: report it with this record.",
        "exit_code": 1,
        "traceback": "".join(traceback.format_exception(error)),
    }
