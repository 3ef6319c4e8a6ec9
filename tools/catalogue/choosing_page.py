"""Write docs/choosing.md: ``python -m tools.catalogue.choosing_page > docs/choosing.md``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from concierge.catalog.loader import load
from concierge.config.keys import Llm
from concierge.errors import NothingSuitableError
from concierge.machine import bundle
from concierge.machine.read.machine import read
from concierge.plan.decide import plan
from concierge.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.catalog.types import Catalog
    from concierge.plan.words import Plan

TESTS = Path(__file__).parents[2] / "tests"

_HEAD = """\
# What is chosen, and why

This page is generated; `python -m tools.catalogue.choosing_page > docs/choosing.md` writes it, and a test compares it.

`plan` chooses model, quantisation, context, cache type and placement together, for an agent's work. It is a pure
function of the machine's facts, the configuration and the catalogue: never of the network, of what is on the disk, or
of what happens to be free.

## The rule

For each device, and for all cards of one kind together, each model of the catalogue is fitted:

- **Context**: as long as fits, up to what the model was trained for. A model must serve 64k tokens from 15 GiB of
  memory on (128k from 30 GiB), 32k from 7.5 GiB, 16k below, and less only in less than 4 GiB. Where other programs
  share the memory, a longer context takes half of what is left. None is longer than can be read in half an hour.
- **Cache**: f16; q8_0, at half the memory, before a shorter context; nothing below q8_0, which loses tool calls.
- **Experts** of a mixture stay in main memory where the card is too small for them, no more than must, and in at most
  half of main memory. Prompts are then read in batches of 2,048 tokens, since the experts are brought once for each.
- **Layers over several cards** where these hold a better model, or more bits of the same, than one of them. Devices
  that stay idle are named.

Of the models that fit and read 20 tokens of a prompt a second or more, the one with the greatest merit is taken:

    merit = rank / (1 + (5 / written)^8)

`rank` is the score of a public benchmark of agents' work, with a little more for more bits
([models.md](models.md#evidence)); `written` and the tokens read a second are what [fit.md](fit.md#speed) predicts.
Above 7 tokens written a second next to nothing is lost; far below, all is. So the best agent is taken and never the
fastest. Reading has a floor and is not weighed: a mixture of experts writes faster than it reads, and weighed by both
it would lose on a faster machine what it wins on a slower one. A speed that is not known is trusted with weights of at
most 1 GiB; a memory that is not known is taken as 2 GiB.

A model of a higher rank that would be taken if there were less memory is taken all the same: what more memory adds
never takes a better agent away.

Between devices the higher score wins, on the first device that carries it: a vendor's own stack before Vulkan, Vulkan
before the CPU. More memory, a card, cores or faster memory never give a worse agent; property tests hold that.

`llm.model` and `llm.context` overrule it: a context that is asked for is given or refused, and never cut.
`run.max_tokens` follows from the context: eight times as many, 100,000 at least.

## Measured instead of predicted

`concierge tune` starts the chosen engine and model with one parameter after the other changed (threads where the CPU
computes, tokens computed at once, flash attention), measures each, and keeps the best in
`$CONCIERGE_HOME/measured.json`, where every later plan finds it: its source is then `measured`. What decides is the
time of an agent's step, 2,000 tokens read and 200 written; less than 3 % is no gain. It also reads main memory for two
seconds, which takes the place of the table for all models on the CPU. `up` measures each new server once, with 64
tokens read and 16 written: that is shown, and decides nothing. `llm.measure = false` leaves it out. Nothing drafts yet,
and no model's next-token block is used.

## Several cards

From four equal cards on, a line says that vLLM is the engine for many requests at once over them.

## Machines

What `concierge plan` answers for recorded and composed machines. Speeds are predictions, in tokens a second.

"""

_COLUMNS = ("Machine", "Chosen", "Context", "Written", "Read", "Memory", "Why")


def render(catalog: Catalog, folder: Path = TESTS) -> str:
    """Return the page, from the bundles below ``folder``."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *_rows(catalog, folder)]
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _rows(catalog: Catalog, folder: Path) -> Iterator[tuple[str, ...]]:
    kinds = ("choice/*", "machines/linux-*", "machines/mac-*", "machines/windows-*")
    machines = [file for kind in kinds for file in sorted(folder.glob(f"{kind}/bundle.json"))]
    for file in machines:
        try:
            found = plan(read(bundle.load(file)), Llm(), catalog)
        except NothingSuitableError as error:
            yield (file.parent.name, "nothing", "-", "-", "-", "-", error.what)
        else:
            yield _row(file.parent.name, found)


def _row(name: str, found: Plan) -> tuple[str, ...]:
    told, given = found.estimate, dict(found.parameters)
    assert told is not None
    spread = f"{told.likely:.0f} ({told.slow:.0f} to {told.fast:.0f}, {told.source})" if told.likely else "unknown"
    words = ("best work", "experts", "idle", "vLLM")
    why = [reason for reason in found.reasons if any(word in reason for word in words)]
    return (
        name,
        f"`{found.model_name}`, {found.accelerator}"
        + (f" on {len(found.devices)} cards" if len(found.devices) > 1 else ""),
        f"{(found.context or 0) // 1024}k {given.get('cache_type_k', 'f16')}",
        spread,
        f"{told.prompt:.0f}" if told.prompt else "unknown",
        f"{gib(told.memory or 0)} of {gib(told.budget)}" if told.budget else f"{gib(told.memory or 0)}",
        "; ".join(why),
    )


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a console on Windows may be neither
    sys.stdout.write(render(load()))
