from __future__ import annotations

import pytest

from concierge.agent.naming import named_files


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("Write it to out.txt.", ("out.txt",)),
        ('Add eggs to "shopping list.txt", then sort src/a.py', ("shopping list.txt", "src/a.py")),
        ("What is 3.14, e.g. in http://example.org/a.html?", ()),
        ("Сложи числа из числа.txt", ("числа.txt",)),
        ("Compare a1.csv with a1.csv", ("a1.csv",)),
    ],
)
def test_what_looks_like_a_file_is_one(task: str, names: tuple[str, ...]) -> None:
    assert named_files(task) == names
