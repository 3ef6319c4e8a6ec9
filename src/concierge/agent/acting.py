"""What an answer calls for is done here, and what it lacks is said."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from concierge.agent.events import Misread, Replied, ToolCalled, ToolReturned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from concierge.agent.budget import Watch
    from concierge.agent.events import CallStatus, Event
    from concierge.agent.protocols.port import Reading
    from concierge.agent.task import Task
    from concierge.agent.tools import Tools

REPEATED = "You have done this already, with this result:"
FINISH = "You have done this already. Answer the user now, in one plain sentence, and do nothing else."
ROUNDS = 2
"""A model that has had the same result of the same call more often goes round in a circle."""
REMINDER_CHARS = 400
SILENT = "You have said nothing. Answer the user now, in plain text."
FAILED = "Your last command failed. Correct it, or, if nothing is to be done about that, answer again."
_FAILED = re.compile(r"^\[exit code \d+\]$|\AError: ", re.MULTILINE)


class Acting:
    """Does what the model asks for.

    Attributes:
        last: The last result; at first, what the model was shown of the folder.
        final: The model was told to answer and to do nothing else.
    """

    def __init__(
        self,
        toolbox: Tools | None,
        task: Task,
        *,
        overview: str,
        how: str,
        watch: Watch,
        emit: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._toolbox, self._task, self._watch, self._emit, self._clock = toolbox, task, watch, emit, clock
        self._expected = toolbox.expected(task.text, how=how) if toolbox else None
        self._worked = False
        self.last, self.final = overview, False
        self._remarks: set[str] = set()

    def remark(self, replied: Replied, reading: Reading) -> str:
        """Return what the answer must mend before it counts; nothing where it may stand."""
        if reading.malformed or replied.tool_calls or not self._toolbox:
            return reading.malformed and f"Error: {reading.malformed}"
        return next(filter(None, (self._once(remark) for remark in self._lacking(replied))), "")

    def _lacking(self, replied: Replied) -> Iterator[str]:
        """Say what an answer lacks, the gravest first."""
        if self.last and not replied.text.strip():
            yield SILENT
        if self._expected:
            yield from self._expected.lacking(replied.text, worked=self._worked)
        if _FAILED.search(self.last) and "(nothing)" not in self.last:
            yield FAILED

    def _once(self, remark: str) -> str:
        """Return a remark that was not made yet: whoever sticks to the answer then means it."""
        known = remark in self._remarks
        self._remarks.add(remark)
        return "" if known else remark

    def _reminder(self) -> str:
        task = self._task.text[:REMINDER_CHARS]
        return f'The task is: "{task}" If it is done, end with an answer to the user. If not, do something else.'

    async def act(self, replied: Replied, remark: str) -> None:
        """Say what is wrong with an answer, and carry out its calls."""
        if remark:
            wrong = remark.startswith("Error")
            self._emit(Misread(step=replied.step, text=remark, taken_back=not wrong and not replied.tool_calls))
            self._watch.saw("", replied.text, remark, bad=wrong)
        for number, call in enumerate(replied.tool_calls, start=1):
            await self._carry_out(replied.step, call, number)

    async def _carry_out(self, step: int, call: Mapping[str, str], number: int) -> None:
        call_id, tool, arguments = call["id"], call["name"], call["arguments"]
        self._emit(ToolCalled(step=step, call_id=call_id, tool=tool, arguments=arguments))
        began = self._clock()
        status: CallStatus = "ok"
        if again := self._watch.again(tool, arguments):
            # Done once is done: what it does again, and again, is meant as the end.
            self.final = again > 1
            text = FINISH if self.final else f"{REPEATED}\n{self.last}\n{self._reminder()}"
        elif self._toolbox:
            status, text = await self._toolbox.carry_out(tool, arguments, number=number)
            self._worked = True
            self.last = text
            if self._watch.came(tool, arguments, text) > ROUNDS:
                self.final, text = True, f"{text}\n{FINISH}"
        else:
            status, text = "bad_call", "Error: There are no tools. Answer in plain text."
        took = round(self._clock() - began, 3)
        self._emit(ToolReturned(step=step, call_id=call_id, tool=tool, status=status, text=text, seconds=took))
        self._watch.saw(tool, arguments, text, bad=status == "bad_call")
        # Most tools do not wait; this is where a timeout or Ctrl-C gets in between them.
        await asyncio.sleep(0)
