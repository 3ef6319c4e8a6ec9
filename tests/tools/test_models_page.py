from __future__ import annotations

from pathlib import Path

from concierge.catalog.loader import load
from tools.catalogue.models_page import render

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_is_what_the_catalogue_says_today() -> None:
    fresh = render(load())
    assert PAGE.read_text(encoding="utf-8") == fresh, "python -m tools.catalogue.models_page > docs/models.md"


def test_every_model_is_on_the_page_with_its_licence_and_memory() -> None:
    catalog = load()
    page = render(catalog)
    for model in catalog.models:
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{model.name}` |")]
        assert model.licence in row
        assert row.count("GiB") >= 2


def test_no_memory_is_stated_for_a_context_that_the_model_does_not_have() -> None:
    [row] = [line for line in render(load()).splitlines() if line.startswith("| `smollm2-135m` |")]
    assert " - " in row
