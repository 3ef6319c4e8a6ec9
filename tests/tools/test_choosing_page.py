from __future__ import annotations

from pathlib import Path

from concierge.catalog.loader import load
from tools.catalogue.choosing_page import render

PAGE = Path(__file__).parents[2] / "docs" / "choosing.md"


def test_the_page_is_what_is_chosen_today() -> None:
    fresh = render(load())
    assert PAGE.read_text(encoding="utf-8") == fresh, "python -m tools.catalogue.choosing_page > docs/choosing.md"
