"""``concierge chat`` and ``concierge run --continue``, in the process of the tests, with a server that is scripted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concierge.agent import runs
from concierge.agent.session import run_task
from concierge.agent.task import Task
from concierge.chat.fake import FakeChat
from concierge.chat.port import Reply, ToolCall
from concierge.cli.chat import UNDONE, Talk
from concierge.endpoint import Endpoint
from concierge.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from concierge.agent.events import RunResult


class Scripted:
    """A river whose model says what the script says."""

    def __init__(self, root: Path, chat: FakeChat) -> None:
        self.root, self._chat = root, chat
        self.config = type("Config", (), {"workspace_root": root})()
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def changes(self, run_id: str) -> Any:
        from concierge.agent import changes

        return changes.read(runs.find(self.root, run_id).kept)

    def run(self, text: str, *, inside: Path | None, continues: str | None, **more: Any) -> Awaitable[RunResult]:
        from concierge.agent.going_on import past

        before = past(self.root, continues) if continues else None
        told = {"subscribers": [more["on_event"]], "on_delta": more["on_delta"]}
        return run_task(self._chat, Task(text, "m"), workspace_root=self.root, inside=inside, past=before, **told)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def talk(
    tmp_path: Path, folder: Path | None, chat: FakeChat, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> Scripted:
    waiting = iter(lines)

    def line(_: str) -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", line)
    river = Scripted(tmp_path / "records", chat)
    Talk(river, Endpoint("http://127.0.0.1:9/v1", "m"), folder, None).all()  # type: ignore[arg-type]
    return river


def writes(text: str) -> Reply:
    return Reply("", tool_calls=[ToolCall("1", "write", f'{{"path": "a.txt", "content": "{text}"}}')])


def test_turns_share_a_conversation_and_a_folder(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = FakeChat([writes("one"), "Written.", "It holds one."])
    lines = ["Write one to a.txt.", "", "/help", "/diff", "What does it hold?", "/exit", "never"]
    river = talk(tmp_path, folder, chat, lines, monkeypatch)
    out, err = capsys.readouterr()
    assert out.splitlines() == ["Written.", "--- /dev/null", "+++ b/a.txt", "@@ -0,0 +1 @@", "+one", "It holds one."]
    assert "/undo  put it back" in err
    assert [message["role"] for message in chat.asked[-1].messages].count("assistant") == 2
    assert any(line.startswith("  write a.txt  (") for line in river.said)
    assert any(line.startswith("Changed: a.txt.") for line in river.said)


def test_what_a_turn_changed_is_put_back_and_the_model_is_told(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = FakeChat([writes("one"), "Written.", "I see."])
    talk(tmp_path, folder, chat, ["Write.", "/undo", "/undo", "And now?"], monkeypatch)
    assert not (folder / "a.txt").exists()
    err = capsys.readouterr().err
    assert "Put back: a.txt." in err
    assert "There is nothing to put back." in err
    assert UNDONE in chat.asked[-1].messages[-1]["content"]


def test_a_failed_or_interrupted_turn_does_not_end_the_chat(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    chat = FakeChat([StatusError("no", status=500), interrupted, "Here."])
    talk(tmp_path, folder, chat, ["One.", "Two.", "Three."], monkeypatch)
    out, err = capsys.readouterr()
    assert out == "Here.\n"
    assert "Stopped." in err
