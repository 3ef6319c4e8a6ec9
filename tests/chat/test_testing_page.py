import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_of_the_page_runs(example: str) -> None:
    exec(compile(example, str(PAGE), "exec"), {})


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 2
