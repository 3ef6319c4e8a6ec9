from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.chat.port import Delta
from concierge.cli import output

if TYPE_CHECKING:
    import pytest


def test_an_answer_shown_while_it_is_written_is_not_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    live = output.Live(shown=True)
    for piece in ("The ", "end."):
        live.piece(Delta(piece))
    live.end("The end.")
    assert capsys.readouterr().out == "The end.\n"


def test_what_a_model_says_before_it_calls_a_tool_stands_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    live = output.Live(shown=True)
    live.piece(Delta("Let me look."))
    live.interrupt()
    live.piece(Delta("", reasoning="hidden"))
    live.piece(Delta("Found it."))
    live.end("Found it.")
    assert capsys.readouterr().out == "Let me look.\nFound it.\n"


def test_anywhere_but_on_a_terminal_the_answer_comes_whole(capsys: pytest.CaptureFixture[str]) -> None:
    live = output.Live(shown=False)
    live.piece(Delta("The "))
    live.end("The [end].")
    assert capsys.readouterr().out == "The [end].\n"


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
