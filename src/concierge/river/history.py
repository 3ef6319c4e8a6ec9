"""What was applied, one generation after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.deploy.generation import Generation, Generations


@dataclass(frozen=True, slots=True)
class Row:
    """One generation, as it is listed.

    Attributes:
        made: When, in UTC.
        current: Whether it is what was last applied.
        held: Whether a rollback chose it to answer what is asked for.
        whole: Whether its bytes are there and as they were brought, as far as a glance shows.
        bytes: Of its entries in the store.
        differs: What is another than in the generation before.
        missing: The first file that is not there or not as it was brought.
    """

    number: int
    made: str
    current: bool
    held: bool
    build: str | None
    model: str | None
    context: int | None
    whole: bool
    bytes: int
    differs: tuple[str, ...]
    missing: str | None


def rows(generations: Generations) -> Iterator[Row]:
    """Yield what was applied, oldest first, with what differs from one to the next."""
    from concierge.deploy import drift, gc
    from concierge.deploy.question import differences
    from concierge.store import manifest

    pointer = generations.pointer()
    answers = set() if pointer is None else {number for _, number in pointer.held}
    before: Generation | None = None
    for kept in generations.all():
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(generations.file(kept.number).stat().st_mtime))
        now, current = kept.generation, pointer is not None and pointer.number == kept.number
        if now is None:
            yield Row(kept.number, made, current, False, None, None, None, False, 0, ("cannot be read",), None)
            continue
        fault = next((fault for entry in now.spec.entries for fault in manifest.glance(entry)), None)
        differs: list[str] = []
        if before is not None:
            asked = (f"asked for {each}" for each in differences(before.question, now.question))
            differs = [*drift.spec_differences(before.spec, now.spec), *asked]
            differs += differences(before.marks, now.marks)
        yield Row(
            kept.number,
            made,
            current,
            kept.number in answers,
            now.spec.build,
            now.spec.model,
            now.spec.context,
            fault is None,
            sum(map(gc.size, now.spec.entries)),
            tuple(differs),
            None if fault is None else str(fault.path),
        )
        before = now
