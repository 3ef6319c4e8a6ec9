"""Write docs/models.md from the catalogue: ``python -m tools.catalogue.models_page > docs/models.md``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from concierge.catalog.loader import load
from concierge.fit.memory import Serving, estimate
from concierge.units import gib

if TYPE_CHECKING:
    from concierge.catalog.types import Catalog, Model

CONTEXTS = (8192, 65536)

_HEAD = """\
# Models

This page is generated from the catalogue; `python -m tools.catalogue.models_page > docs/models.md` writes it.

Concierge pins each file by commit, size and sha256. `model = "auto"` takes the one with the highest rank that fits this
machine with its context, the wait for it counted ([choosing.md](choosing.md)); `concierge models` says what fits here
and why.

- **Memory** is what must be free to serve one request at a time with that much context: weights, cache, buffers and a
  margin of 1 GiB, with an f16 cache. [fit.md](fit.md) explains the formula and how well it holds. A dash means that
  the model was not trained for so long a context.
- **Tools**: the model was trained to call tools. **Thinks**: it reasons before it answers, when asked to or always.
- **Hash** is how far it is trusted: stated by the *publisher*, agreed on by several independent public *manifests*,
  named by one *manifest*, or computed by us from bytes that we have *seen*.

"""

_EVIDENCE = """\
## Evidence

What each rank stands on. The first benchmark decides: "AA composite V18" is the mean of 20 evaluations by Artificial
Analysis, nine of them of agents, as a public aggregate states it. A rank is its score in hundredths, and 20 more for
the same weights at 8 bits. A figure of our own tasks takes its place where there is one. A model without any evidence
stands below all that have some. A test refuses an order that its evidence contradicts.

"""

_COLUMNS = (
    "Model",
    "Weights",
    "Quantisation",
    "Download",
    "Memory at 8k",
    "Memory at 64k",
    "Trained for",
    "Tools",
    "Thinks",
    "Licence",
    "Released",
    "Rank",
    "Hash",
)


def render(catalog: Catalog) -> str:
    """Return the page, models in the catalogue's order."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(model) for model in catalog.models)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    files = "".join(_file(model) for model in catalog.models)
    return f"{_HEAD}{table}\n{_EVIDENCE}{''.join(map(_scores, catalog.models))}\n## Files\n\n{files}"


def _scores(model: Model) -> str:
    told = "; ".join(f"{each.bench} {each.score:g} ({each.date}, {each.source})" for each in model.evidence)
    return f"- `{model.name}`: {told or 'none'}\n"


def _row(model: Model) -> tuple[str, ...]:
    return (
        f"`{model.name}`",
        _count(model.params)
        if model.params_active is None
        else f"{_count(model.params)}, {_count(model.params_active)} a token",
        model.quant,
        gib(model.size, digits=2),
        *(_memory(model, context) for context in CONTEXTS),
        f"{model.context_train // 1024}k",
        "yes" if model.chat.tools else "no",
        {"never": "no", "optional": "when asked", "always": "always"}[model.chat.thinking],
        model.licence,
        model.released or "-",
        str(model.rank),
        ", ".join(sorted({artefact.trust for artefact in model.artefact})),
    )


def _memory(model: Model, context: int) -> str:
    if model.gguf is None or context > model.context_train:
        return "-"
    need = estimate(model.gguf, model.size, Serving(context))
    return gib(need.device_total + need.host_total, digits=2)


def _file(model: Model) -> str:
    where = f"{model.repo}@{model.revision[:12]}" if model.revision else model.repo
    names = ", ".join(f"`{artefact.name}` ({artefact.size:,} bytes)" for artefact in model.artefact)
    return f"- **{model.title}**: {names}, from {where}\n"


def _count(params: int) -> str:
    return f"{params / 1e9:.1f}B" if params >= 1e9 else f"{params / 1e6:.0f}M"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a console on Windows may be neither
    sys.stdout.write(render(load()))
