"""A conversation that goes on: after its end, after a kill, beyond the model's context."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from concierge.agent import runs
from concierge.agent.budget import estimated_tokens
from concierge.agent.conversation import UNDONE, UNKNOWN, conversation
from concierge.agent.events import Folded, Replied, Started, ToolCalled
from concierge.agent.going_on import past
from concierge.agent.protocols.prompts import prompt
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall
from concierge.errors import RunError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.agent.events import RunResult


def write(number: int, content: str = "x") -> Reply:
    arguments = json.dumps({"path": f"{number}.txt", "content": content})
    return Reply("", tool_calls=[ToolCall(f"c{number}", "write", arguments)])


def run(chat: FakeChat, root: Path, text: str = "Do it.", **more: Any) -> RunResult:
    goes_on = more.pop("goes_on", None)
    before = past(root, goes_on) if goes_on else None
    task = Task(text, "tiny", **more)
    return asyncio.run(asyncio.wait_for(run_task(chat, task, workspace_root=root, past=before), 10))


def test_the_next_run_knows_what_was_said_and_works_in_the_same_folder(tmp_path: Path) -> None:
    first = run(FakeChat([write(1), "It is written."]), tmp_path)
    chat = FakeChat(["Yes."])
    second = run(chat, tmp_path, "Is it there?", goes_on="last")
    roles = [message["role"] for message in chat.asked[0].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert "1.txt" in chat.asked[0].messages[-1]["content"]
    events = runs.read_run(tmp_path, second.id).events
    assert isinstance(events[0], Started)
    assert events[0].continues == first.id
    assert events[0].folder == str(tmp_path / "runs" / first.id / "workspace")


def test_a_run_that_was_killed_in_a_call_is_told_that_nobody_knows(tmp_path: Path) -> None:
    ended = run(FakeChat([Reply("", tool_calls=[*write(1).tool_calls, *write(2).tool_calls]), "Done."]), tmp_path)
    journal = runs.find(tmp_path, ended.id).events
    lines = journal.read_text().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(lines) if '"tool_called"' in line)
    journal.write_text("".join(lines[: cut + 1]))
    chat = FakeChat(["Done."])
    run(chat, tmp_path, "Go on.", goes_on=ended.id)
    told = [message["content"] for message in chat.asked[0].messages if message["role"] == "tool"]
    assert told == [UNKNOWN, UNDONE]


def test_a_run_of_another_protocol_is_told_in_the_new_one(tmp_path: Path) -> None:
    run(FakeChat([write(1), "Done."]), tmp_path)
    chat = FakeChat(['{"thought": "t", "action": "answer", "text": "Yes."}'])
    run(chat, tmp_path, "And now?", goes_on="last", protocol="json")
    messages = chat.asked[0].messages[len(prompt("json")) :]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]


def test_what_never_began_or_is_gone_cannot_go_on(tmp_path: Path) -> None:
    empty = runs.create(tmp_path)
    with pytest.raises(RunError, match="before it began"):
        past(tmp_path, empty.id)
    ended = run(FakeChat(["Done."]), tmp_path)
    runs.find(tmp_path, ended.id).workspace.rmdir()
    with pytest.raises(UsageError, match="is gone"):
        past(tmp_path, ended.id)


@pytest.mark.parametrize("protocol", ["native", "json"])
def test_a_long_task_does_not_outgrow_the_context(tmp_path: Path, protocol: str) -> None:
    def step(number: int) -> Reply:
        if protocol == "native":
            return write(number, "word " * 400)
        given = {"thought": "t", "action": "write", "path": f"{number}.txt", "content": "word " * 400}
        return Reply(json.dumps(given))

    end = "Done." if protocol == "native" else '{"thought": "t", "action": "answer", "text": "Done."}'
    chat = FakeChat([*(step(number) for number in range(18)), end])
    result = run(chat, tmp_path, "Write them all.", protocol=protocol, context=4096)
    assert (result.status, result.text) == ("done", "Done.")
    for asked in chat.asked:
        assert estimated_tokens(asked.messages) < 4096
        assert "Write them all." in "".join(str(each["content"]) for each in asked.messages if each["role"] == "user")
    events = runs.read_run(tmp_path, result.id).events
    folds = [event for event in events if isinstance(event, Folded)]
    assert folds
    assert "write" in folds[-1].note
    assert len([event for event in events if isinstance(event, ToolCalled | Replied)]) == 37
    assert conversation(events[:-2]) == chat.asked[-1].messages


def test_the_sent_messages_never_hold_a_result_without_its_call(tmp_path: Path) -> None:
    chat = FakeChat([*(write(number, "word " * 300) for number in range(15)), "Done."])
    run(chat, tmp_path, context=3000)
    for asked in chat.asked:
        known: set[str] = set()
        for message in asked.messages:
            known |= {call["id"] for call in message.get("tool_calls", ())}
            assert message.get("tool_call_id", "") in {"", *known}


def test_russian_and_chinese_are_counted_about_as_a_tokenizer_does() -> None:
    assert 150 < estimated_tokens([{"role": "user", "content": "Столица Франции называется Париж. " * 15}]) < 320
    assert 100 < estimated_tokens([{"role": "user", "content": "法国的首都是巴黎。" * 20}]) < 250


def test_a_folder_that_holds_the_runs_under_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The runs are written to"):
        asyncio.run(run_task(FakeChat([]), Task("t", "m"), workspace_root=tmp_path / "records", inside=tmp_path))
