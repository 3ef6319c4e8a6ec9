"""Calls in the text of an answer, as families of models and small models write them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from concierge.agent import runs
from concierge.agent.conversation import conversation
from concierge.agent.events import Replied, RunResult
from concierge.agent.protocols import in_text
from concierge.agent.protocols.choose import able, named
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from concierge.agent.events import Event

    Play = Callable[..., RunResult]

TOOLS = ("read", "write")
READ = ("read", {"path": "a.txt"})

SPELLINGS = {
    "fenced": '```json\n{"name": "read", "arguments": {"path": "a.txt"}}\n```',
    "fenced with prose": 'I read it.\n```json\n{"name": "read", "arguments": {"path": "a.txt"}}\n```\nThen I see.',
    "bare": '{"name": "read", "arguments": {"path": "a.txt"}}',
    "doubled braces": '{{"name": "read", "arguments": {"path": "a.txt"}}}',
    "parameters": '{"name": "read", "parameters": {"path": "a.txt"}}',
    "tool": '{"tool": "read", "input": {"path": "a.txt"}}',
    "flat": '{"action": "read", "path": "a.txt"}',
    "by name": '{"read": {"path": "a.txt"}}',
    "of the api": '[{"type": "function", "function": {"name": "read", "arguments": "{\\"path\\": \\"a.txt\\"}"}}]',
    "hermes": '<tool_call>\n{"name": "read", "arguments": {"path": "a.txt"}}\n</tool_call>',
    "hermes, open": '<tool_call>{"name": "read", "arguments": {"path": "a.txt"}}',
    "qwen coder": "<tool_call>\n<function=read>\n<parameter=path>\na.txt\n</parameter>\n</function>\n</tool_call>",
    "function": '<function=read>{"path": "a.txt"}</function>',
    "llama": '<|python_tag|>{"name": "read", "parameters": {"path": "a.txt"}}',
    "mistral": '[TOOL_CALLS] [{"name": "read", "arguments": {"path": "a.txt"}}]',
    "lfm": '<|tool_call_start|>[read(path="a.txt")]<|tool_call_end|>',
    "gemma": '```tool_code\nread(path="a.txt")\n```',
    "numbered": '1. read {"path": "a.txt"}',
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_call_is_understood(spelling: str) -> None:
    calls, _ = in_text.find(SPELLINGS[spelling], TOOLS)
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [READ]


@pytest.mark.parametrize(
    "text",
    [
        "Paris.",
        'Send {"name": "read"} to call it.',
        '```json\n{"name": "Ann", "age": 3}\n```',
        '```python\nprint("read")\n```',
        '{"city": "Paris"}',
        "read the file",
        "```\nread\n```",
    ],
)
def test_what_is_no_call_is_left_as_it_is(text: str) -> None:
    assert in_text.find(text, TOOLS) == ((), text)


def test_several_calls_are_taken_in_order_and_the_prose_around_them_is_kept() -> None:
    first, second = ("<tool_call>" + json.dumps({"name": name}) + "</tool_call>" for name in TOOLS)
    text = f"First.\n{first}\n{second}\nThen."
    calls, rest = in_text.find(text, TOOLS)
    assert [call.name for call in calls] == ["read", "write"]
    assert rest.split() == ["First.", "Then."]


def test_line_breaks_inside_of_a_string_are_no_fault() -> None:
    calls, _ = in_text.find('{"name": "write", "arguments": {"path": "a", "content": "one\ntwo"}}', TOOLS)
    assert json.loads(calls[0].arguments)["content"] == "one\ntwo"


def test_a_call_in_the_text_is_carried_out_and_told_apart_in_the_journal(play: Play, seen: list[Event]) -> None:
    written = '```json\n{"name": "write", "arguments": {"path": "a.txt", "content": "1"}}\n```'
    chat = FakeChat([written, "It is done."])
    result = play(chat, subscribers=[seen.append])
    assert (result.status, result.text) == ("done", "It is done.")
    assert [event.in_text for event in seen if isinstance(event, Replied)] == [True, False]
    assert chat.asked[1].messages[-2]["tool_calls"][0]["function"]["name"] == "write"


def test_a_call_of_an_unknown_tool_is_never_an_answer(play: Play) -> None:
    unknown = '```json\n{"name": "create_folder", "arguments": {"path": "src"}}\n```'
    chat = FakeChat([unknown, "I cannot make folders."])
    assert play(chat).text == "I cannot make folders."
    assert chat.asked[1].messages[-1]["content"].startswith("Error: That is no complete call of a tool.")
    stopped = play(FakeChat([unknown] * 3))
    assert (stopped.status, stopped.reason) == ("stopped", "bad_calls")


def test_a_schema_holds_a_model_to_one_action_a_turn(tmp_path: Path) -> None:
    chat = FakeChat(
        [
            '{"thought": "write it", "action": "write", "path": "a.txt", "content": "1"}',
            "no JSON",
            '{"thought": "done", "action": "answer", "text": "It is done."}',
        ]
    )
    task = Task("t", "m", protocol="json")
    result = asyncio.run(run_task(chat, task, workspace_root=tmp_path))
    assert (result.status, result.text) == ("done", "It is done.")
    assert (runs.find(tmp_path, result.id).workspace / "a.txt").read_text() == "1"
    schema = chat.asked[0].options["response_format"]["json_schema"]["schema"]  # type: ignore[index]
    assert [each["properties"]["action"]["const"] for each in schema["anyOf"]][-1] == "answer"
    assert "tools" not in chat.asked[0].options
    assert [message["role"] for message in chat.asked[2].messages[-4:]] == ["assistant", "user", "assistant", "user"]
    record = runs.read_run(tmp_path, result.id)
    assert conversation(record.events)[:-1] == chat.asked[2].messages


async def echo(command: str) -> str:
    return f"Output:\n{command}"


@pytest.mark.parametrize(
    ("reply", "command"),
    [
        ("I look.\n```bash\nls\n```\nIt shows a.txt.", "ls"),
        ("```sh\n$ ls\n$ cat a\n```", "ls\ncat a"),
        ("```\nls\n```\n```bash\nrm a\n```", "ls"),
        ("```python\nprint(1)\n```", "python3 - <<'END_OF_PYTHON'\nprint(1)\nEND_OF_PYTHON"),
        ("```bash\nls", "ls"),
        ('```json\n{"name": "shell", "arguments": {"command": "ls"}}\n```', "ls"),
    ],
)
def test_the_first_command_of_a_turn_is_run_and_what_is_imagined_behind_it_left_out(
    tmp_path: Path, reply: str, command: str
) -> None:
    chat = FakeChat([reply, "It is done."])
    task = Task("t", "m", protocol="shell")
    result = asyncio.run(run_task(chat, task, workspace_root=tmp_path, shell_in=lambda _: echo))
    assert result.text == "It is done."
    assert chat.asked[1].messages[-1] == {"role": "user", "content": f"Output:\n{command}"}
    assert "It shows" not in chat.asked[1].messages[-2]["content"]
    assert "tools" not in chat.asked[0].options


def test_an_output_that_is_repeated_in_a_block_is_an_answer(tmp_path: Path) -> None:
    chat = FakeChat(["```bash\necho 3\n```", "```\necho 3\n```"])
    result = asyncio.run(
        run_task(chat, Task("t", "m", protocol="shell"), workspace_root=tmp_path, shell_in=lambda _: echo)
    )
    assert (result.status, result.text, result.steps) == ("done", "echo 3", 2)


def test_without_a_shell_there_are_no_shell_commands() -> None:
    assert able("shell", ()).name == "native"
    assert named("something of another release").name == "native"


CALL = '<tool_call>{"name": "read", "arguments": {"path": "a.txt"}}</tool_call>'


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (f"Done. {CALL}", "Done."),
        (CALL + '```json\n{"name": "read"}\n```', ""),
        ('<tool_call>{"name": "re', ""),
        (Reply("", tool_calls=[ToolCall("a", "read", "{}")]), ""),
    ],
)
def test_a_model_that_is_told_to_answer_and_calls_a_tool_again_says_what_stands_beside_it(
    play: Play, last: str, said: str
) -> None:
    again = Reply("", tool_calls=[ToolCall("a", "list", "{}")])
    result = play(FakeChat([again, again, again, last]))
    assert (result.status, result.text) == (("done", said) if said else ("stopped", ""))


@pytest.mark.parametrize("text", ["null", '""', '" "'])
def test_an_answer_in_json_that_says_nothing_is_none(tmp_path: Path, text: str) -> None:
    chat = FakeChat([f'{{"action": "answer", "text": {text}}}'])
    result = asyncio.run(run_task(chat, Task("t", "m", protocol="json"), workspace_root=tmp_path))
    assert (result.status, result.reason) == ("stopped", "empty")


def test_an_answer_in_json_that_is_an_action_is_sent_back(tmp_path: Path) -> None:
    chat = FakeChat([json.dumps({"action": "answer", "text": CALL}), '{"action": "answer", "text": 3}'])
    result = asyncio.run(run_task(chat, Task("t", "m", protocol="json"), workspace_root=tmp_path))
    assert (result.status, result.text) == ("done", "3")
    assert chat.asked[1].messages[-1]["content"].startswith("Error: That answer is an action.")
