from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

from concierge.chat.port import Delta
from concierge.cli import output


def test_an_answer_shown_while_it_is_written_is_not_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    live = output.Live(shown=True)
    for piece in ("The ", "end."):
        live.piece(Delta(piece))
    live.end("The end.")
    assert capsys.readouterr().out == "The end.\n"


def test_what_a_model_says_before_it_calls_a_tool_stands_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    live = output.Live(shown=True, dimmed=False)
    live.piece(Delta("Let me look."))
    live.interrupt()
    live.piece(Delta("", reasoning="hidden"))
    live.piece(Delta("Found it."))
    live.end("Found it.")
    assert capsys.readouterr().out == "Let me look.\nFound it.\n"


def test_a_thought_is_dimmed_and_stands_apart_from_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    live = output.Live(shown=True)
    live.piece(Delta("", reasoning="Hm."))
    live.piece(Delta("Found it."))
    live.end("Found it.")
    assert capsys.readouterr().out == f"{output.DIM}Hm.{output.PLAIN}\n\nFound it.\n"


def test_anywhere_but_on_a_terminal_the_answer_comes_whole(capsys: pytest.CaptureFixture[str]) -> None:
    live = output.Live(shown=False)
    live.piece(Delta("The "))
    live.end("The [end].")
    assert capsys.readouterr().out == "The [end].\n"


class Stream(io.TextIOWrapper):
    """A stream of a system that writes in its own way."""

    def __init__(self, *, encoding: str = "utf-8", terminal: bool = False) -> None:
        self.bytes = io.BytesIO()
        self.terminal = terminal
        super().__init__(self.bytes, encoding=encoding, newline="")

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


HOSTILE = "\x1b]52;c;cm0gLXJm\x07\x1b[2Jhi\n\tthere\x9b\x7f"


@pytest.mark.promise("S18")
def test_a_terminal_is_shown_control_sequences_and_obeys_none() -> None:
    with redirect_stdout(Stream(terminal=True)) as out, redirect_stderr(Stream(terminal=True)) as err:
        output.result(HOSTILE)
        output.Live(shown=True).piece(Delta("\x1b[31m"))
        output.narrate("\x1b[31m")
    assert out.text == "\\x1b]52;c;cm0gLXJm\\x07\\x1b[2Jhi\n\tthere\\x9b\\x7f\n\\x1b[31m"
    assert err.text == "\\x1b[31m\n"


def test_a_file_gets_an_answer_as_it_is() -> None:
    with redirect_stdout(Stream()) as out:
        output.result(HOSTILE)
    assert out.text == f"{HOSTILE}\n"


def test_an_answer_is_never_lost_to_a_narrow_encoding() -> None:
    with redirect_stdout(Stream(encoding="cp1252")) as out, redirect_stderr(Stream(encoding="ascii")) as err:
        output.prepare()
        output.result("Grüße, 世界 ✓")
        output.narrate("→ é")
    assert out.text == "Grüße, \\u4e16\\u754c \\u2713\n"
    assert err.text == "\\u2192 \\xe9\n"


def test_an_object_stays_one_in_a_narrow_encoding() -> None:
    with redirect_stdout(Stream(encoding="latin-1")) as out:
        output.data(text="世界 é")
    assert json.loads(out.text) == {"schema": 1, "text": "世界 é"}


def test_progress_without_a_terminal_is_a_line_each_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Bars().download("model.gguf", 4_000_000) as meter:
        for done in range(0, 4_000_001, 100_000):
            meter.at(done)
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(" of ")[0] for line in told.err.splitlines()] == [
        f"  model.gguf: {size:.1f}" for size in (1.0, 2.0, 3.0, 4.0)
    ]
    assert "MB/s" in told.err
    assert "s left" in told.err
