"""Each example of docs/python.md, run as a program of its own with the real engine and the real model."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import concierge

if TYPE_CHECKING:
    from tests.river.place import Place

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

PRINTED = (
    ("smollm2-135m, as llm.model asks",),
    ("http://127.0.0.1:", "Paris"),
    ("0 run_started", "run_", "The capital of France is Paris."),
    (),
)
"""What each example must show, in the order of the page."""


def test_every_example_of_the_page_says_here_what_it_must_show() -> None:
    assert len(EXAMPLES) == len(PRINTED)


@pytest.mark.real
@pytest.mark.skipif(sys.platform == "win32", reason="uses POSIX signals")
@pytest.mark.parametrize(
    ("example", "printed"), [*zip(EXAMPLES, PRINTED, strict=True)], ids=["plan", "up", "run", "error"]
)
def test_an_example_of_the_page_does_what_it_says(place: Place, example: str, printed: tuple[str, ...]) -> None:
    (place.root / "my-project").mkdir()
    with place.start("-c", example, module=()) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert [text for text in printed if text not in out] == []


def test_every_public_name_is_described_on_the_page_or_on_the_one_for_tests() -> None:
    pages = PAGE + (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    untold = [name for name in concierge.__all__ if not re.search(rf"\b{name}\b", pages)]
    assert untold == ["__version__"]
