"""Two hundred conversations with models and servers at their worst: no run crashes, loses or invents anything."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from concierge import jsontext
from concierge.agent.conversation import Conversation, replayed
from concierge.agent.events import Asked, Replied, RunResult, ToolCalled, ToolReturned
from concierge.agent.protocols.choose import PROTOCOLS, named
from concierge.agent.runs import ids, read_run
from concierge.agent.session import run_task
from concierge.agent.task import Limits, Task
from concierge.agent.tools import TOOLS
from concierge.chat.client import OpenAICompatibleChatClient
from concierge.chat.failure import RetryPolicy
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall, Usage
from concierge.endpoint import Endpoint
from concierge.errors import ReplyError, StatusError, ToolError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.agent.events import Event
    from concierge.agent.runs import RunRecord
    from concierge.chat.fake import Line
    from concierge.chat.port import ChatClient

HANG = "HANG"
"""Where the conversation is cancelled: an answer, or a command, that never comes."""
LIMITS = Limits(max_steps=8, max_tokens=200_000, max_seconds=20)

# Every character that there is: control characters, halves of surrogate pairs, and what is wide.
ANY = st.text(st.characters(), max_size=20)
NASTY = st.sampled_from(
    ["", "\0", "\x1b[2J", "\ud800", "\udfff\ud83d", "\u202e", "\r\n", "</tool_call>", "```", "{", "\U0001d54f" * 9]
)
PROSE = st.one_of(
    ANY, NASTY, st.sampled_from(["It is done.", "Thinking…", "Output:\n", "[exit code 1]", "1. ", "answer"])
)
PATHS = st.sampled_from(
    ["a.txt", "sub/b.txt", ".", "", "..", "../x", "../../outside/x", "/etc/passwd", "~/x", "link/x", "dangling",
     "\\x", "C:\\x", "a\0b", "\ud800", "a/" * 40 + "x", "x" * 300, ".git/config", "./././a.txt", "a.txt/b", "new\n.txt"]
)  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), PROSE, PATHS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PROSE, inner, max_size=3), max_leaves=6
)
FIELDS = ("path", "content", "old", "new", "text", "command", "start", "thought", "action")
WELL_FORMED = st.sampled_from(
    [("write", {"path": "a.txt", "content": "1"}), ("read", {"path": "a.txt"}), ("list", {}), ("search", {"text": "1"}),
     ("edit", {"path": "a.txt", "old": "1", "new": "2"}), ("shell", {"command": "echo 1"}),
     ("shell", {"command": "ls; \ud800"}), ("shell", {"command": "fail"})]
)  # fmt: skip
GIVEN = st.dictionaries(st.sampled_from(FIELDS) | PROSE, VALUES, max_size=4)
NAMES = st.sampled_from([*TOOLS, "bash", "answer", "", "READ", "read\0", "\ud800", "x" * 500])
CALLED = WELL_FORMED | st.tuples(NAMES, GIVEN)
BROKEN = st.sampled_from(
    ["", " ", "null", "[]", "{}", "true", "7", '"a.txt"', '{"path"', '{"path": "a.txt"}{"path": "b"}',
     '{"path": "a.txt"}"', "[" * 200, "[" * 50_000, '{"a":' * 5_000, '{"path": "a\nb"}', '"{\\"path\\": \\"a.txt\\"}"',
     "NaN", "1" * 5_000, '{"path": "\\ud800"}', '[{"path": "a.txt"}]', "\ufeff{}",
     '{"path": "a.txt", "path": "../x"}', "x" * 300_000]
)  # fmt: skip


def dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


ARGUMENTS = CALLED.map(lambda call: dumped(call[1])) | BROKEN | VALUES.map(dumped)

IN_TEXT: list[Callable[[str, Any], str]] = [
    lambda name, given: f"<tool_call>{dumped({'name': name, 'arguments': given})}</tool_call>",
    lambda name, given: f"<tool_call>\n{dumped({'name': name, 'arguments': dumped(given)})}",
    lambda name, given: f"<tool_call><function={name}>" + "".join(f"<parameter={n}>{v}" for n, v in given.items()),
    lambda name, given: f"<function={name}>{dumped(given)}</function>",
    lambda name, given: f"[TOOL_CALLS] [{dumped({'name': name, 'arguments': given})}]",
    lambda name, given: f"<|python_tag|>{dumped({'name': name, 'parameters': given})}",
    lambda name, given: f"<|tool_call_start|>[{name}({', '.join(f'{n}={v!r}' for n, v in given.items())})]",
    lambda name, given: f"```json\n{dumped({'tool': name, 'input': given})}\n```",
    lambda name, given: f"```tool_code\n{name}(path='a.txt')\n```",
    lambda name, given: f"{{{dumped({'action': name, **given})}}}",
    lambda name, given: dumped({"thought": "so", "action": name, **given}),
    lambda name, given: dumped({name: given}),
    lambda name, given: dumped([{"function": {"name": name, "arguments": given}}] * 2),
    lambda name, given: f"1. {name} {dumped(given)}",
    lambda name, given: f"```bash\n$ {given.get('command', 'cat a.txt')}\n```",
    lambda name, given: f"```python\nprint({given!r})\n```",
    lambda name, given: f"```\n{name} {dumped(given)}",
    lambda name, given: dumped({"action": "answer", "text": given}),
]

SPELLED = st.builds(lambda spell, call: spell(*call), st.sampled_from(IN_TEXT), CALLED)
TEXTS = st.lists(SPELLED | PROSE | BROKEN, max_size=4).map("".join) | SPELLED
CALLS = st.builds(
    ToolCall, st.sampled_from(["", "a", "b", "call00001", "0", "\ud800", "\n"]), NAMES, ARGUMENTS
) | st.builds(
    lambda call_id, call: ToolCall(call_id, call[0], dumped(call[1])), st.sampled_from(["", "a"]), WELL_FORMED
)
REPLIES = st.builds(
    Reply,
    TEXTS,
    tool_calls=st.lists(CALLS, max_size=4) | CALLS.map(lambda call: [call] * 3) | CALLS.map(lambda call: [call] * 20),
    finish_reason=st.sampled_from(["stop", "tool_calls", "stop", "tool_calls", "length", "content_filter", "", None]),
    usage=st.none() | st.builds(Usage, st.integers(0, 9_000), st.integers(0, 9_000)),
    reasoning=PROSE,
    model=st.none() | PROSE,
)
ERRORS = st.sampled_from(
    [TransportError("It reset the connection."), ReplyError("It is cut off."), StatusError("Busy.", status=429),
     StatusError("m does not support tools", status=400), StatusError("tools are not supported", status=0),
     StatusError("\ud800", status=500, where="\x1b", hint="")]
)  # fmt: skip
ENDLESS = st.sampled_from(["That is all.", dumped({"action": "answer", "text": "That is all."})])


@dataclass
class Table:
    """Where one conversation takes place: a folder of its user's, and what no run may reach."""

    root: Path
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for folder in ("outside", "inside/sub", "inside/.git"):
            (self.root / folder).mkdir(parents=True)
        for file in ("outside/secret.txt", "inside/a.txt", "inside/sub/b.txt", "inside/.git/config"):
            (self.root / file).write_text("1\n")
        (self.root / "inside" / "link").symlink_to(self.root / "outside")
        (self.root / "inside" / "dangling").symlink_to(self.root / "outside" / "new")

    async def hang(self, _: object = None) -> Reply:
        self.hung.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing ends that")

    async def shell(self, command: str) -> str:
        """Answer like a confined shell, which none of this is about."""
        if command == HANG:
            await self.hang()
        if "fail" in command:
            raise ToolError("The shell could not be confined.")
        return f"Output:\n{len(command)} characters\n[no file was changed]"

    def lines(self, script: list[Line], last: str) -> list[Line]:
        return [self.hang if each == HANG else each for each in (*script, *[last] * LIMITS.max_steps)]

    def beyond(self) -> dict[str, str | None]:
        """Return every path outside of the runs and the folder, and what only tools of the user touch in that."""
        kept = [self.root / "outside", self.root / "inside" / ".git", self.root / "inside" / "link"]
        paths = {*self.root.iterdir(), *(path for place in kept for path in (place, *place.rglob("*")))}
        return {str(path): path.read_text() if path.is_file() else None for path in sorted(paths)}

    async def run(self, chat: ChatClient, protocol: str, on_event: Callable[[Event], None]) -> RunResult | None:
        """Run to the end, or to where it hangs, which is then cancelled: None."""
        task = Task("Change a.txt.", "tiny", limits=LIMITS, protocol=protocol, context=8_000)
        running = asyncio.ensure_future(
            run_task(
                chat,
                task,
                workspace_root=self.root / "own",
                inside=self.root / "inside",
                subscribers=[on_event],
                shell_in=lambda _: self.shell,
            )
        )
        hanging = asyncio.ensure_future(self.hung.wait())
        await asyncio.wait([running, hanging], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        hanging.cancel()
        if not running.done():
            running.cancel()
        await asyncio.wait([running], timeout=30)
        return None if running.cancelled() else running.result()


def play(chat: Callable[[Table], ChatClient], protocol: str) -> None:
    """Let a model loose on a folder, and check all that must be true of every run."""
    with tempfile.TemporaryDirectory() as folder:
        table = Table(Path(folder))
        told: list[Event] = []
        client = chat(table)
        (table.root / "own").mkdir()
        before = table.beyond()
        result = asyncio.run(table.run(client, protocol, told.append))
        assert table.beyond() == before
        (run_id,) = ids(table.root / "own")
        record = read_run(table.root / "own", run_id)
        event(f"{protocol}: {record.summary.result.status} {record.summary.result.reason}")
        check_journal(record, told, result)
        check_calls(record.events, cut=result is None)
        check_answer(record)
        check_going_on(record.events)
        if isinstance(client, FakeChat):
            check_replay(record.events, [each.messages for each in client.asked])


def check_journal(record: RunRecord, told: list[Event], result: RunResult | None) -> None:
    events = record.events
    assert not record.torn
    assert [each.seq for each in events] == list(range(len(events)))
    assert [each.kind for each in events] == [each.kind for each in told]
    assert [each.kind for each in events].count("run_ended") == 1
    end = events[-1]
    assert isinstance(end, RunResult)
    assert end.status in ("done", "stopped", "failed") if result else end.status == "interrupted"
    assert end.reason != "crash", end.error
    written = jsontext.parse_object((record.summary.path / "result.json").read_bytes())
    assert written is not None
    assert (written["status"], written["id"]) == (end.status, record.summary.id)


def check_calls(events: tuple[Event, ...], *, cut: bool) -> None:
    """Each call has an id of its own and one result, but for the one in whose middle the run was cancelled."""
    asked = [call["id"] for each in events if isinstance(each, Replied) for call in each.tool_calls]
    called = [each.call_id for each in events if isinstance(each, ToolCalled)]
    returned = [each.call_id for each in events if isinstance(each, ToolReturned)]
    assert len(set(asked)) == len(asked)
    assert called == asked[: len(called)] or set(called) <= set(asked)
    assert all(times == 1 for times in Counter(returned).values())
    assert returned == called[: len(returned)]
    assert len(called) - len(returned) <= int(cut)


def check_answer(record: RunRecord) -> None:
    """What is done has an answer, and that is no call of a tool."""
    end, events = record.summary.result, record.events
    if end.status != "done":
        assert end.error
        return
    assert end.text.strip()
    started = record.events[0].own()
    read = PROTOCOLS["native"].read(Reply(end.text), started["tools"], last="")
    assert not read.calls, end.text
    assert not [each for each in events if isinstance(each, Replied)][-1].tool_calls


def check_replay(events: tuple[Event, ...], asked: list[list[Any]]) -> None:
    """The journal on the disk gives each question back as it was asked."""
    said, sent = Conversation(), iter(asked)
    refused = {each.own()["step"] for each in events if each.kind == "tools_refused"}
    for each in events:
        said.follow(each)
        if isinstance(each, Asked):
            assert plain(next(sent)) == plain(said.messages)
            if each.step in refused:
                next(sent)
    assert next(sent, None) is None


def plain(messages: list[Any]) -> Any:
    return json.loads(json.dumps(messages))


def check_going_on(events: tuple[Event, ...]) -> None:
    """A run that goes on with this one finds one result for each call of the API, whatever the protocol was."""
    for protocol in PROTOCOLS:
        messages = replayed(events, named(protocol))
        open_calls: list[str] = []
        for message in messages:
            if message["role"] == "tool":
                assert message["tool_call_id"] in open_calls
                open_calls.remove(message["tool_call_id"])
            open_calls += [call["id"] for call in message.get("tool_calls", ())]
        assert open_calls == []


def hostile(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


SCRIPTS = st.lists(st.one_of(REPLIES, REPLIES, REPLIES, TEXTS, ERRORS, st.just(HANG)), min_size=1, max_size=6)


@hostile(70)
@given(SCRIPTS, ENDLESS)
def test_a_hostile_model_with_tool_calls_of_the_server(script: list[Line], last: str) -> None:
    play(lambda table: FakeChat(table.lines(script, last)), "native")


@hostile(50)
@given(SCRIPTS, ENDLESS)
def test_a_hostile_model_with_shell_commands(script: list[Line], last: str) -> None:
    play(lambda table: FakeChat(table.lines(script, last)), "shell")


@hostile(50)
@given(SCRIPTS, ENDLESS)
def test_a_hostile_model_with_actions_in_json(script: list[Line], last: str) -> None:
    play(lambda table: FakeChat(table.lines(script, last)), "json")


WORDS = SCALARS | ARGUMENTS
WIRE_CALLS = st.fixed_dictionaries(
    {},
    optional={
        "id": WORDS,
        "index": st.sampled_from([0, 0, 1, -1, "0", None, 1.5]),
        "type": WORDS,
        "function": st.fixed_dictionaries({}, optional={"name": NAMES | WORDS, "arguments": ARGUMENTS | VALUES})
        | VALUES,
    },
)
WIRE_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": WORDS,
        "content": TEXTS | VALUES,
        "reasoning_content": WORDS,
        "tool_calls": st.lists(WIRE_CALLS | VALUES, max_size=5) | VALUES,
    },
)
WIRE_ENDS = st.sampled_from(["stop", "tool_calls", "length", None, 7])
NOTHING: list[Any] = [{}, {"choices": []}, {"choices": None}, {"error": {"message": "unsupported tools"}}, [], None]
BODIES = st.lists(
    st.builds(
        lambda message, end, usage: {"choices": [{"delta": message, "finish_reason": end}], "usage": usage},
        WIRE_MESSAGES | VALUES,
        WIRE_ENDS,
        VALUES,
    )
    | st.sampled_from(NOTHING),
    min_size=1,
    max_size=4,
)
STATUSES = st.sampled_from([200, 200, 200, 200, 400, 401, 404, 429, 500, 503])


class Server(httpx.AsyncBaseTransport):
    """Answers with what it is given, streamed, and goes on with a plain answer."""

    def __init__(self, answers: list[tuple[int, list[Any], str]]) -> None:
        self._answers = iter(answers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        good = [{"choices": [{"delta": {"content": "That is all."}, "finish_reason": "stop"}]}]
        status, chunks, end = next(self._answers, (200, good, "data: [DONE]\n\n"))
        if status != 200:
            return httpx.Response(status, content=json.dumps(chunks[0]).encode())
        lines = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        return httpx.Response(200, text=lines + end, headers={"content-type": "text/event-stream"})


@hostile(30)
@given(
    st.lists(st.tuples(STATUSES, BODIES, st.sampled_from(["data: [DONE]\n\n", "", "data: {", ": ping"])), max_size=5),
    st.sampled_from(sorted(PROTOCOLS)),
)
def test_a_hostile_server(answers: list[tuple[int, list[Any], str]], protocol: str) -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "tiny")
    retry = RetryPolicy(attempts=1, seconds=0, loading_seconds=0)
    play(lambda _: OpenAICompatibleChatClient(endpoint, retry=retry, transport=Server(answers)), protocol)
