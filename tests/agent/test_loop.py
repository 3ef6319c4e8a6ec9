from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from concierge.agent import acting, conversation, runs
from concierge.agent.events import Asked, CutOff, Event, Replied, RunResult, Started, ToolReturned, ToolsRefused
from concierge.agent.expected import UNMADE
from concierge.agent.journal import Journal
from concierge.agent.loop import Runner
from concierge.agent.protocols.prompts import prompt
from concierge.agent.runs import read_run
from concierge.agent.session import run_task
from concierge.agent.task import Limits, Task
from concierge.chat.fake import FakeChat
from concierge.chat.port import Delta, Reply, ToolCall, Usage
from concierge.config.keys import Llm
from concierge.errors import StatusError, TransportError

Play = Callable[..., RunResult]
GOOD = '{"path": "a.txt", "content": "1"}'


def calls(*arguments: str, tool: str = "write", text: str = "") -> Reply:
    made = [ToolCall(f"call_{number}", tool, written) for number, written in enumerate(arguments)]
    return Reply(text, tool_calls=made, finish_reason="tool_calls", usage=Usage(10, 5))


def test_an_answer_without_a_call_is_the_result(play: Play) -> None:
    result = play(FakeChat([Reply("Paris.", usage=Usage(40, 8))]))
    assert (result.status, result.reason, result.text, result.steps) == ("done", "answered", "Paris.", 1)
    assert result.usage == {"prompt_tokens": 40, "completion_tokens": 8, "estimated": False}
    assert (result.exit_code, result.error) == (0, None)


def test_a_call_is_carried_out_and_its_result_goes_back_to_the_model(play: Play, tmp_path: Path) -> None:
    chat = FakeChat([calls(GOOD), calls('{"path": "a.txt"}', tool="read"), "It says 1."])
    result = play(chat)
    assert (result.text, result.steps) == ("It says 1.", 3)
    assert (tmp_path / "runs" / result.id / "workspace" / "a.txt").read_text() == "1"
    assert [message["role"] for message in chat.asked[-1].messages] == [
        "system", "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    assert chat.asked[-1].messages[-1]["content"] == "1"


def test_the_journal_alone_gives_the_conversation_back(play: Play, tmp_path: Path) -> None:
    chat = FakeChat([calls('{"path"', GOOD), "Done."])
    result = play(chat)
    events = read_run(tmp_path, result.id).events
    sent = conversation.conversation(events)
    assert sent[:-1] == chat.asked[-1].messages
    assert sent[-1] == {"role": "assistant", "content": "Done."}
    assert [event.seq for event in events] == list(range(len(events)))
    assert {event.id for event in events} == {result.id}


def test_every_call_has_an_id_of_its_own_and_sends_valid_json_back(play: Play) -> None:
    chat = FakeChat([calls('{"path": "a', "null"), calls(GOOD), "Done."])
    play(chat)
    made = [call for message in chat.asked[-1].messages for call in message.get("tool_calls", [])]
    results = [message["tool_call_id"] for message in chat.asked[-1].messages if message["role"] == "tool"]
    assert [call["id"] for call in made] == results
    assert len(set(results)) == 3
    assert [json.loads(call["function"]["arguments"]) for call in made] == [{}, {}, json.loads(GOOD)]


def test_a_task_of_two_words_is_asked_as_the_configuration_would(tmp_path: Path) -> None:
    chat = FakeChat(["Paris."])
    asyncio.run(run_task(chat, Task("t", "m"), workspace_root=tmp_path))
    assert chat.asked[0].options["temperature"] == Llm().temperature
    assert "tools" in chat.asked[0].options


def test_a_model_without_tools_gets_the_task_and_nothing_else(play: Play) -> None:
    chat = FakeChat(["Paris."])
    play(chat, offer_tools=False)
    assert chat.asked[0].messages == [{"role": "user", "content": "Do it."}]
    assert "tools" not in chat.asked[0].options


def test_a_call_that_nobody_offered_is_a_bad_call(play: Play) -> None:
    chat = FakeChat([calls(GOOD), "Then so."])
    assert play(chat, offer_tools=False).text == "Then so."
    assert chat.asked[1].messages[-1]["content"] == "Error: There are no tools. Answer in plain text."


def test_a_server_that_takes_no_tools_is_asked_again_without_them(play: Play, seen: list[Event]) -> None:
    refusal = StatusError("registry/tiny does not support tools", status=400)
    chat = FakeChat([refusal, "Paris."])
    result = play(chat, subscribers=[seen.append])
    assert (result.status, result.text) == ("done", "Paris.")
    assert ["tools" not in asked.options for asked in chat.asked] == [False, True]
    assert [type(event) for event in seen].count(ToolsRefused) == 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("bash", "{}"), ("write", "{}"), ("write", '{"path": "a", "content": true}'), ("write", '["a"]'),
        ("write", '"a"'), ("write", "null"), ("write", '{"path": "a'), ("write", GOOD + GOOD), ("write", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_bad_call_becomes_its_result_and_the_next_may_be_right(play: Play, tool: str, arguments: str) -> None:
    chat = FakeChat([calls(arguments, tool=tool), calls(GOOD), "Done."])
    result = play(chat)
    assert result.status == "done"
    assert chat.asked[1].messages[-1]["content"].startswith("Error: ")


def test_trailing_quotes_are_no_fault(play: Play, seen: list[Event]) -> None:
    play(FakeChat([calls(GOOD + '"'), "Done."]), subscribers=[seen.append])
    assert [event.status for event in seen if isinstance(event, ToolReturned)] == ["ok"]


@pytest.mark.promise("L4")
def test_three_bad_calls_in_a_row_stop_the_run(play: Play) -> None:
    result = play(FakeChat([calls("{}"), calls("[]"), calls('{"path"'), "never"]))
    assert (result.status, result.reason, result.steps) == ("stopped", "bad_calls", 3)
    assert result.error is not None
    assert (result.error["limit"], result.error["value"], result.exit_code) == (3, 3, 1)


def test_bad_calls_that_are_mended_in_between_do_not_add_up(play: Play) -> None:
    script = [calls("{}"), calls("{}"), calls(GOOD), calls("{}"), calls("{}"), calls(GOOD), "Done."]
    assert play(FakeChat(script)).status == "done"


@pytest.mark.promise("L5")
def test_a_model_that_only_repeats_its_call_is_asked_to_end_and_then_stopped(play: Play, seen: list[Event]) -> None:
    result = play(FakeChat([calls('{"path": "no.txt"}', tool="read")] * 4 + ["never"]), subscribers=[seen.append])
    assert (result.status, result.reason) == ("stopped", "loop")
    texts = [event.text for event in seen if isinstance(event, ToolReturned)]
    assert texts[0].startswith("Error: There is no no.txt")
    assert texts[1].startswith(f"{acting.REPEATED}\n{texts[0]}\n")
    assert texts[2:] == [acting.FINISH]


def test_a_model_that_goes_round_in_a_circle_is_asked_to_end(play: Play, seen: list[Event]) -> None:
    look, other = calls('{"path": "no.txt"}', tool="read"), calls("{}", tool="list")
    result = play(FakeChat([look, other] * 2 + [look, "There is none."]), subscribers=[seen.append])
    assert (result.status, result.text, result.steps) == ("done", "There is none.", 6)
    texts = [event.text for event in seen if isinstance(event, ToolReturned)]
    assert texts[-1].endswith(acting.FINISH)


def test_an_answer_without_the_file_that_the_task_names_is_asked_about_once(tmp_path: Path) -> None:
    chat = FakeChat(["Done.", calls('{"path": "out.txt", "content": "1"}', tool="write"), "Done."])
    task = Task("Write 1 to out.txt.", "tiny")
    result = asyncio.run(run_task(chat, task, workspace_root=tmp_path))
    assert (result.status, result.steps) == ("done", 3)
    assert chat.asked[1].messages[-1]["content"].endswith(UNMADE.format(name="out.txt", how="with a tool"))
    sticks = FakeChat(["No.", "No."])
    assert asyncio.run(run_task(sticks, task, workspace_root=tmp_path)).steps == 2


def test_a_model_that_has_worked_and_says_nothing_is_asked_once_for_its_answer(play: Play) -> None:
    chat = FakeChat([calls(GOOD), "", "It is written."])
    assert (play(chat).text, chat.asked[2].messages[-1]["content"]) == ("It is written.", acting.SILENT)
    assert play(FakeChat([calls(GOOD), "", " "])).reason == "empty"


def test_what_a_model_says_after_repeating_itself_is_the_answer(play: Play) -> None:
    again = calls(GOOD)
    assert play(FakeChat([again, again, "It is written."])).text == "It is written."
    assert play(FakeChat([again, again, again, calls(GOOD, text="It is done.")])).text == "It is done."


@pytest.mark.promise("L6")
def test_too_many_calls_in_one_answer_are_refused(play: Play, seen: list[Event]) -> None:
    result = play(FakeChat([calls(*[GOOD.replace("1", str(n)) for n in range(40)])]), subscribers=[seen.append])
    assert result.reason == "bad_calls"
    assert len([event for event in seen if isinstance(event, ToolReturned)]) == 19


@pytest.mark.promise("L7")
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("half an ans", finish_reason="length"), "length"),
        (Reply("", finish_reason="length", tool_calls=[ToolCall("1", "write", '{"path')]), "length"),
        (Reply("", finish_reason="stop"), "empty"),
        (Reply(" \n", reasoning="Hm."), "empty"),
        (Reply("withheld", finish_reason="content_filter"), "filtered"),
    ],
)
def test_a_cut_off_empty_or_withheld_answer_is_never_success(play: Play, reply: Reply, reason: str) -> None:
    result = play(FakeChat([reply]))
    assert (result.status, result.reason, result.exit_code) == ("stopped", reason, 1)
    assert result.text == str(reply)


@pytest.mark.promise("L1")
def test_steps_are_limited(play: Play) -> None:
    script = [calls(GOOD.replace("1", str(number))) for number in range(3)]
    result = play(FakeChat(script), limits=Limits(max_steps=2))
    assert (result.reason, result.steps) == ("max_steps", 2)
    assert result.error is not None
    assert (result.error["limit"], result.error["value"]) == (2, 2)


@pytest.mark.promise("L2")
def test_tokens_are_limited_by_what_the_server_counted(play: Play) -> None:
    many = Reply("", tool_calls=[ToolCall("1", "write", GOOD)], usage=Usage(900, 200))
    result = play(FakeChat([many, "never"]), limits=Limits(max_tokens=1000))
    assert (result.reason, result.steps) == ("max_tokens", 1)
    assert result.error is not None
    assert result.error["limit"] == 1000
    assert result.error["value"] >= 1100


def test_tokens_are_estimated_when_the_server_does_not_count(play: Play) -> None:
    result = play(FakeChat([Reply("x" * 350)]), offer_tools=False)
    assert result.usage["estimated"]
    assert result.usage["completion_tokens"] == 100


def test_a_nearly_spent_token_budget_caps_the_answer_and_says_so(play: Play) -> None:
    chat = FakeChat([Reply("cut", finish_reason="length", usage=Usage(20, 80))])
    result = play(chat, limits=Limits(max_tokens=100), offer_tools=False)
    assert 0 < (chat.asked[0].options["max_tokens"] or 0) < 100
    assert result.reason == "max_tokens"


@pytest.mark.parametrize("said", ["no such model", "tools are down", "not supported"])
def test_another_refusal_of_the_server_ends_the_run(play: Play, said: str) -> None:
    chat = FakeChat([StatusError(said, status=400), "never"])
    assert play(chat).reason == "StatusError"
    assert len(chat.asked) == 1


def test_tools_are_taken_back_at_the_first_question_only_and_only_if_there_were_any(play: Play) -> None:
    refusal = StatusError("tools are not supported", status=400)
    assert play(FakeChat([calls(GOOD), refusal, "never"])).reason == "StatusError"
    assert play(FakeChat([refusal, "never"]), offer_tools=False).reason == "StatusError"


def test_times_are_differences_of_the_runs_own_clock(tmp_path: Path, seen: list[Event]) -> None:
    ticks = itertools.count(100, 0.5)
    folder = runs.create(tmp_path)
    with Journal(folder, subscribers=[seen.append]) as journal:
        runner = Runner(
            FakeChat([calls("{}", tool="list"), "Done."]), journal=journal, toolbox=None, clock=lambda: next(ticks)
        )
        result = asyncio.run(runner.run(Task("t", "m")))
    assert [event.seconds for event in seen if isinstance(event, Replied | ToolReturned)] == [0.5, 0.5, 0.5]
    assert result.seconds == 3.5


@pytest.mark.promise("L3")
def test_wall_time_is_limited(play: Play) -> None:
    async def forever() -> str:
        await asyncio.Event().wait()
        return "never"

    result = play(FakeChat([lambda asked: forever()]), limits=Limits(max_seconds=0.05))
    assert (result.status, result.reason) == ("stopped", "max_seconds")
    assert result.error is not None
    assert result.error["limit"] == 0.05
    assert result.error["value"] >= 0.05


def test_an_error_of_the_server_ends_the_run_as_failed(play: Play, tmp_path: Path) -> None:
    result = play(FakeChat([TransportError("No answer.", hint="Start one.")]))
    assert (result.status, result.reason, result.exit_code) == ("failed", "TransportError", 5)
    assert result.error is not None
    assert (result.error["what"], result.error["hint"]) == ("No answer.", "Start one.")
    assert read_run(tmp_path, result.id).summary.result == result


def test_an_unforeseen_error_is_journalled_with_its_traceback_and_raised(play: Play, seen: list[Event]) -> None:
    with pytest.raises(ZeroDivisionError):
        play(FakeChat([ZeroDivisionError("no")]), subscribers=[seen.append])
    last = seen[-1]
    assert isinstance(last, RunResult)
    assert (last.status, last.reason, last.exit_code) == ("failed", "crash", 1)
    assert last.error is not None
    assert "ZeroDivisionError" in last.error["traceback"]


def test_a_timeout_that_is_not_the_runs_own_is_no_budget(play: Play, seen: list[Event]) -> None:
    with pytest.raises(TimeoutError):
        play(FakeChat([TimeoutError()]), subscribers=[seen.append])
    assert isinstance(seen[-1], RunResult)
    assert (seen[-1].status, seen[-1].reason) == ("failed", "crash")


def test_a_cancelled_run_says_so_and_stays_cancelled(tmp_path: Path, seen: list[Event]) -> None:
    async def scenario() -> None:
        asked = asyncio.Event()

        async def wait() -> str:
            asked.set()
            await asyncio.Event().wait()
            return "never"

        chat = FakeChat([lambda _: wait()])
        running = asyncio.create_task(
            run_task(chat, Task("t", "m"), workspace_root=tmp_path, subscribers=[seen.append])
        )
        await asyncio.wait_for(asked.wait(), 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert [event.status for event in seen if isinstance(event, RunResult)] == ["interrupted"]
    run = read_run(tmp_path, seen[0].id)
    assert (run.summary.result.status, run.summary.result.reason) == ("interrupted", "interrupted")
    result = json.loads((run.summary.path / "result.json").read_text())
    assert (result["status"], result["error"]["exit_code"]) == ("interrupted", 130)


def test_the_journal_says_what_was_sent_and_what_it_cost(play: Play, seen: list[Event]) -> None:
    reply = Reply("Paris.", usage=Usage(40, 8), reasoning="France…", model="tiny-1", finish_reason="stop")
    play(FakeChat([reply]), subscribers=[seen.append], versions={"engine": "b1"})
    started, asked, replied, done = seen
    assert isinstance(started, Started)
    assert {"concierge", "python", "engine"} == set(started.versions)
    assert [tool["function"]["name"] for tool in started.tools] == ["read", "write", "edit", "list", "search"]
    assert (started.protocol, Path(started.folder).name) == ("native", "workspace")
    assert started.limits == {"max_steps": 20, "max_tokens": 100_000, "max_seconds": 1800.0}
    assert isinstance(asked, Asked)
    assert (asked.step, asked.messages, asked.max_tokens) == (1, 2, None)
    assert isinstance(replied, Replied)
    assert (replied.text, replied.reasoning, replied.model) == ("Paris.", "France…", "tiny-1")
    assert replied.usage == {"prompt_tokens": 40, "completion_tokens": 8, "estimated": False}
    assert done.kind == "run_ended"


def test_every_answer_is_streamed_so_that_silence_means_a_stuck_server(play: Play) -> None:
    chat = FakeChat(["Yes."])
    play(chat)
    assert "on_delta" in chat.asked[0].options


def test_pieces_of_an_answer_reach_the_caller(play: Play) -> None:
    pieces: list[str] = []
    play(FakeChat(["The capital."]), on_delta=lambda delta: pieces.append(delta.content))
    assert "".join(pieces) == "The capital."


def test_text_that_utf8_cannot_hold_neither_crashes_nor_breaks_the_journal(play: Play, tmp_path: Path) -> None:
    chat = FakeChat([calls('{"path": "a.txt", "content": "\\ud800"}', text="\ud800"), "Done \udfff\u2028."])
    result = play(chat)
    assert result.status == "done"
    assert len(read_run(tmp_path, result.id).events) == 8
    json.dumps(chat.asked[-1].messages, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", ["tools", "shell", "json"])
def test_what_teaches_a_model_is_short_and_ends_with_an_answer(name: str) -> None:
    taught = prompt(name)
    assert sum(len(message["content"]) for message in taught) / 3.5 < 480
    assert taught[-1]["role"] in ("system", "assistant")


def writes_and_then(cause: BaseException | None) -> Callable[[Any], Awaitable[str]]:
    """Return an answer that begins, and then breaks off for ``cause``, or hangs."""

    async def answer(asked: Any) -> str:
        asked.options["on_delta"](Delta(content="The capital of "))
        asked.options["on_delta"](Delta(content="France is", reasoning="Hm."))
        if cause is not None:
            raise cause
        await asyncio.Event().wait()
        return "never"

    return answer


def test_what_had_arrived_of_an_answer_is_kept_when_its_server_dies(
    play: Play, seen: list[Event], tmp_path: Path
) -> None:
    result = play(FakeChat([writes_and_then(TransportError("It broke."))]), subscribers=[seen.append])
    (cut,) = [event for event in seen if isinstance(event, CutOff)]
    assert (cut.text, cut.reasoning, cut.step) == ("The capital of France is", "Hm.", 1)
    assert (result.status, result.text, result.steps) == ("failed", "The capital of France is", 0)
    assert result.usage == cut.usage
    assert result.usage["estimated"]
    assert result.usage["completion_tokens"] == 8
    assert read_run(tmp_path, result.id).summary.result == result


def test_what_had_arrived_is_kept_when_the_time_is_up(play: Play) -> None:
    result = play(FakeChat([writes_and_then(None)]), limits=Limits(max_seconds=0.05))
    assert (result.reason, result.text) == ("max_seconds", "The capital of France is")


def test_what_had_arrived_is_kept_at_an_interruption(tmp_path: Path, seen: list[Event]) -> None:
    async def interrupted() -> None:
        begun = asyncio.Event()
        running = asyncio.create_task(
            run_task(
                FakeChat([writes_and_then(None)]),
                Task("t", "m"),
                workspace_root=tmp_path,
                subscribers=[seen.append],
                on_delta=lambda _: begun.set(),
            )
        )
        await asyncio.wait_for(begun.wait(), 5)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(interrupted())
    last = seen[-1]
    assert isinstance(last, RunResult)
    assert (last.status, last.text) == ("interrupted", "The capital of France is")


def test_an_answer_of_which_nothing_had_arrived_leaves_nothing(play: Play, seen: list[Event]) -> None:
    play(FakeChat([TransportError("No answer.")]), subscribers=[seen.append])
    assert not any(isinstance(event, CutOff) for event in seen)


def test_a_prompt_that_teaches_tools_goes_where_they_are_refused(play: Play, tmp_path: Path) -> None:
    chat = FakeChat([StatusError("tools are not supported", status=400), "Paris."])
    result = play(chat)
    assert [[message["role"] for message in asked.messages] for asked in chat.asked] == [["system", "user"], ["user"]]
    assert conversation.conversation(read_run(tmp_path, result.id).events)[0]["role"] == "user"
