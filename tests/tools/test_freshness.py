from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import Catalog
from tools.catalogue import freshness
from tools.catalogue.publishers import Publishers

if TYPE_CHECKING:
    from tests.make import Make

LLAMA, OLLAMA = "ggml-org/llama.cpp", "ollama/ollama"
TODAY = date(2026, 11, 27)


def catalog(make: Make, *models: tuple[float, str | None]) -> Catalog:
    named = (
        make.model(f"m{n}", 1, 1, params=int(billions * 1e9), released=released)
        for n, (billions, released) in enumerate(models)
    )
    return Catalog(builds=(), models=tuple(named))


def test_a_class_is_as_old_as_its_newest_model(make: Make) -> None:
    every = [(0.5, "2026-09"), (3, "2026-09"), (8, "2026-01-05"), (8.5, "2026-06"), (14, "2026-09-01")]
    told = freshness.aged_classes(catalog(make, *every, (30, "2026-05-27"), (120, "2026-05-28")), TODAY)
    assert list(told) == [
        "models of 16B to 40B: the newest, m5, is of 2026-05-27",
        "models of more than 140B: none with a date",
    ]


def test_a_model_of_unknown_age_keeps_no_class_fresh(make: Make) -> None:
    told = list(freshness.aged_classes(catalog(make, (0.5, None)), TODAY))
    assert told[0] == "models of 0B to 1B: none with a date"
    assert len(told) == len(freshness.CLASSES)


def publishers(stable: list[tuple[str, str, str]]) -> Publishers:
    """Publishers of releases: tag, time and commit of each, newest first."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/releases"):
            return httpx.Response(200, json=[{"tag_name": tag, "published_at": at} for tag, at, _ in stable])
        if "/commits/" in path:
            return httpx.Response(200, json={"sha": next(sha for tag, _, sha in stable if path.endswith(f"/{tag}"))})
        return httpx.Response(200, json={"published_at": "2026-10-05T16:00:00Z"})

    return Publishers(httpx.Client(transport=httpx.MockTransport(answer)))


@pytest.mark.parametrize(
    ("stable", "behind"),
    [
        ([], False),
        ([("v0.6.0", "2026-10-05T16:56:00Z", "ours")], False),
        ([("v0.7.0", "2026-10-16T00:00:00Z", "new"), ("v0.6.0", "2026-10-05T16:56:00Z", "ours")], False),
        ([("b12000", "2026-10-20T00:00:00Z", "x"), ("v0.7.0", "2026-10-16T00:00:00Z", "new")], False),
        ([("v0.8.0", "2026-11-02T00:00:00Z", "newer"), ("v0.7.0", "2026-10-16T00:00:00Z", "new")], True),
    ],
)
def test_an_engine_is_old_when_two_stable_releases_are_newer(
    make: Make, stable: list[tuple[str, str, str]], behind: bool
) -> None:
    url = f"https://github.com/{LLAMA}/releases/download/b11429/llama.tar.gz"
    artefact = make.artefact("llama.tar.gz", 1).model_copy(
        update={"sources": (make.artefact("x", 1).sources[0].model_copy(update={"url": url}),)}
    )
    build = make.build("cpu", version="b11429", commit="ours", artefact=(artefact,))
    told = list(freshness.aged_engines(Catalog(builds=(build,), models=()), publishers(stable)))
    assert told == ([f"{LLAMA}: 2 stable releases are newer than the pin: v0.8.0, v0.7.0"] if behind else [])


def test_the_shipped_catalogue_has_its_pins_found(make: Make) -> None:
    pins = dict(freshness._pins(load(), LLAMA))
    assert pins["b11429"] is not None
    assert dict(freshness._pins(load(), OLLAMA))
