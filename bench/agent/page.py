"""The table of docs/agent.md, from the documents that ``--out`` wrote.

python -m bench.agent.page RESULT.json …
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from bench.agent.task import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HEAD = ("model", "agent", "protocol", *KINDS, "solved", "steps", "tokens", "seconds")


def rows(documents: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each document: what was solved of each kind, of all, and what a task took on average."""
    yield HEAD
    yield ("---",) * len(HEAD)
    for said in documents:
        tries = said["tries"]
        solved = {kind: [tried["solved"] for tried in tries if tried["kind"] == kind] for kind in KINDS}
        tokens = mean(tried["prompt_tokens"] + tried["completion_tokens"] for tried in tries)
        yield (
            said["model"],
            f"{said['agent']} {said['release']}",
            said["protocol"] or "its own",
            *(f"{sum(each)}/{len(each)}" for each in solved.values()),
            f"**{said['solved']}/{said['total']}**, {said['solved'] / said['total']:.0%}",
            f"{mean(tried['steps'] for tried in tries):.1f}",
            f"{tokens:.0f}",
            f"{mean(tried['seconds'] for tried in tries):.1f}",
        )


def main() -> None:
    """Print it."""
    documents = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    documents.sort(key=lambda said: (said["model"], -said["solved"]))
    for row in rows(documents):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
