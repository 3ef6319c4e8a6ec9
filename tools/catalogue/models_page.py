"""Write docs/models.md from the catalogue: ``python -m tools.catalogue.models_page > docs/models.md``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from concierge.catalog.loader import load
from concierge.fit.memory import estimate
from concierge.units import gib

if TYPE_CHECKING:
    from concierge.catalog.types import Catalog, Model

CONTEXTS = (8192, 32768)

_HEAD = """\
# Models

This page is generated from the catalogue; `python -m tools.catalogue.models_page > docs/models.md` writes it.

Concierge pins each file by commit, size and sha256. `model = "auto"` takes the one with the highest rank that fits
this machine with its context and is predicted to be usable; `concierge models` says what fits here and why.

- **Memory** is what must be free to serve one request at a time with that much context: weights, cache, buffers and a
  margin of 1 GiB, with an f16 cache. [fit.md](fit.md) explains the formula and how well it holds. A dash means that
  the model was not trained for so long a context.
- **Tools**: the model was trained to call tools. **Thinks**: it reasons before it answers, when asked to or always.
- **Hash** is how far it is trusted: stated by the *publisher*, agreed on by several independent public *manifests*,
  named by one *manifest*, or computed by us from bytes that we have *seen*.

"""

_COLUMNS = (
    "Model",
    "Weights",
    "Quantisation",
    "Download",
    "Memory at 8k",
    "Memory at 32k",
    "Trained for",
    "Tools",
    "Thinks",
    "Licence",
    "Rank",
    "Hash",
)


def render(catalog: Catalog) -> str:
    """Return the page, models in the catalogue's order."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(model) for model in catalog.models)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    files = "".join(_file(model) for model in catalog.models)
    return f"{_HEAD}{table}\n## Files\n\n{files}"


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
        str(model.rank),
        ", ".join(sorted({artefact.trust for artefact in model.artefact})),
    )


def _memory(model: Model, context: int) -> str:
    if model.gguf is None or context > model.context_train:
        return "-"
    need = estimate(model.gguf, model.size, context=context)
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
