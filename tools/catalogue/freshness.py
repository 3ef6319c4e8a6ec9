"""Say what of the catalogue has aged: ``python -m tools.catalogue.freshness``; exit code 1 when anything has.

Models age by class of size: one whose newest entry is older than six months has probably been overtaken. Engines age by
stable releases. With ``--offline`` no publisher is asked and only models are looked at.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import httpx

from concierge.catalog.loader import load
from tools.catalogue.publishers import GITHUB, Publishers
from tools.catalogue.verify import LLAMA_CPP, OLLAMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concierge.catalog.types import Catalog, Model

CLASSES = (1, 4, 9, 16, 40, 140, float("inf"))
"""Upper bounds of the classes, in billions of weights."""

DAYS = 183
"""Age from which the newest model of a class counts as old."""

STABLE = re.compile(r"v\d+\.\d+\.\d+")
BEHIND = 1
"""Stable releases that a pin may be behind."""


def aged_classes(catalog: Catalog, today: date) -> Iterator[str]:
    """Yield a sentence for each class of size whose newest model is too old, or that has none."""
    for low, high in zip((0, *CLASSES), CLASSES, strict=False):
        name = f"more than {low:g}B" if high == float("inf") else f"{low:g}B to {high:g}B"
        models = [model for model in catalog.models if low < model.params / 1e9 <= high]
        dated = [(_day(model), model) for model in models if model.released]
        if not dated:
            yield f"models of {name}: none with a date"
            continue
        day, newest = max(dated, key=lambda pair: pair[0])
        if (today - day).days > DAYS:
            yield f"models of {name}: the newest, {newest.name}, is of {newest.released}"


def aged_engines(catalog: Catalog, publishers: Publishers) -> Iterator[str]:
    """Yield a sentence for each repository of which more than one stable release is newer than the newest pin.

    Raises:
        httpx.HTTPError: A publisher could not be reached.
    """
    for repo in (LLAMA_CPP, OLLAMA):
        pins = dict(_pins(catalog, repo))
        if not pins:
            continue
        dates = [date for tag in pins if (date := publishers.date(repo, tag)) is not None]
        newer = [tag for tag, date in publishers.dates(repo) if STABLE.fullmatch(tag) and date > max(dates, default="")]
        # A stable release of llama.cpp is a build under a second tag.
        newer = [tag for tag in newer if tag not in pins and publishers.commit(repo, tag) not in pins.values()]
        if len(newer) > BEHIND:
            yield f"{repo}: {len(newer)} stable releases are newer than the pin: {', '.join(newer[:4])}"


def _pins(catalog: Catalog, repo: str) -> Iterator[tuple[str, str | None]]:
    """Yield the tags that are pinned, each with its commit where that is known."""
    for build in catalog.builds:
        for source in build.artefact[0].sources:
            if source.kind == "https" and (found := GITHUB.fullmatch(source.url)) and found["repo"] == repo:
                yield found["tag"], build.commit


def _day(model: Model) -> date:
    """Return when a model was released; of a month the last day, since it may have been that one."""
    year, month, *day = map(int, (model.released or "").split("-"))
    return date(year, month, day[0] if day else 28)


def main(arguments: Sequence[str]) -> int:
    """Print what has aged, and return 1 when anything has."""
    catalog, today = load(), datetime.now(tz=UTC).date()
    told = list(aged_classes(catalog, today))
    if "--offline" not in arguments:
        with httpx.Client(timeout=30.0, follow_redirects=True) as client:
            told += aged_engines(catalog, Publishers(client))
    sys.stdout.writelines(f"{line}\n" for line in told)
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
