from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.deploy.generation import Generations
from concierge.errors import StoreError, UsageError
from concierge.paths import Home
from tests.deploy.test_generation import made

if TYPE_CHECKING:
    from pathlib import Path

MARKS = (("memory", "1000"), ("nvidia driver", "580.65"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def generations(home: Home) -> Generations:
    """Three, each for another question; the last one is current."""
    found = Generations(home)
    for asked in "abc":
        found.switch(made(home, asked))
    return found


def test_back_is_to_the_one_before_and_what_was_asked_is_answered_by_it(generations: Generations) -> None:
    assert generations.back().number == 2
    assert [found.number for asked in "abc" if (found := generations.find(asked))] == [1, 2, 2]
    assert generations.back().number == 1
    assert [found.number for asked in "abc" if (found := generations.find(asked))] == [1, 2, 1]
    with pytest.raises(UsageError, match="no earlier generation"):
        generations.back()


def test_forward_again_forgets_that_there_was_a_way_back(generations: Generations, home: Home) -> None:
    generations.back(1)
    assert generations.held("c") == 1
    assert generations.back(3).number == 3
    assert home.current.read_text() == "3\n"
    assert generations.held("c") is None


def test_another_project_does_not_undo_a_way_back(generations: Generations, home: Home) -> None:
    generations.back(1)
    generations.switch(made(home, "d"))
    current, held = generations.current(), generations.find("c")
    assert current is not None
    assert held is not None
    assert (current.number, held.number) == (4, 1)


def test_what_is_made_anew_for_a_question_answers_it_from_then_on(generations: Generations, home: Home) -> None:
    generations.back(1)
    newer = generations.switch(made(home, "c", reasons=("tuned",)))
    assert generations.find("c") == newer


def test_an_older_answer_to_the_same_question_is_held_too(generations: Generations, home: Home) -> None:
    generations.switch(made(home, "a", reasons=("newer",)))
    generations.back(1)
    found = generations.find("a")
    assert found is not None
    assert found.number == 1


def test_what_is_not_there_or_cannot_be_read_is_refused_by_its_number(generations: Generations, home: Home) -> None:
    with pytest.raises(UsageError, match="Generation 9 is not there"):
        generations.back(9)
    (home.generations / "1.json").write_text("{")
    with pytest.raises(UsageError, match="Generation 1 cannot be read"):
        generations.back(1)
    assert home.current.read_text() == "3\n"


def test_bytes_that_are_gone_are_refused_by_their_path(generations: Generations, home: Home) -> None:
    shutil.rmtree(home.store / "model")
    with pytest.raises(StoreError, match=r"Generation 2 needs .*model, which is gone"):
        generations.back()
    assert home.current.read_text() == "3\n"


def test_a_held_generation_whose_bytes_are_gone_gives_way_to_the_newest(generations: Generations, home: Home) -> None:
    generations.back(1)
    file = home.generations / "1.json"
    file.write_text(file.read_text().replace('"engine"', '"gone"'))
    found = generations.find("c")
    assert found is not None
    assert found.number == 3


@pytest.mark.parametrize("text", ["", "x\n", "3\nhalf\n", "3\nasked many\n", "\xff"])
def test_a_damaged_pointer_points_nowhere_and_is_written_anew(generations: Generations, home: Home, text: str) -> None:
    home.current.write_text(text, encoding="latin-1")
    assert generations.pointer() is None
    generations.switch(made(home, "c"))
    assert home.current.read_text() == "3\n"


def test_a_generation_of_another_machine_answers_nothing_here(home: Home) -> None:
    generations = Generations(home)
    there = generations.switch(made(home, "a", marks=MARKS))
    assert generations.find("a", MARKS) == there
    assert generations.find("a", (("memory", "1050"), ("nvidia driver", "580.65"))) == there
    assert generations.find("a", (("memory", "2000"), ("nvidia driver", "580.65"))) is None
    assert generations.find("a", (("memory", "1000"), ("nvidia driver", "590.1"))) is None
    assert generations.find("a", (("memory", "1000"),)) is None
    assert generations.find("a") == there
    here = generations.switch(replace(there, number=0, marks=(("memory", "5000"),)))
    assert (generations.find("a", MARKS), generations.find("a", here.marks)) == (there, here)
