"""Carry out a choice: bring its bytes and say how to run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.catalog.types import digest
from concierge.deploy.spec import ServerSpec
from concierge.plan.words import build_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.catalog.types import Build, Model
    from concierge.store.fetch import Fetcher


def apply(
    build: Build, model: Model, *, context: int, parameters: Sequence[tuple[str, str]], fetcher: Fetcher
) -> ServerSpec:
    """Put the engine and the model into the store and return the server that they make.

    Raises:
        ArtefactError: Bytes could not be had, are the wrong ones, or do not fit.
    """
    engine_root = fetcher.fetch(build.artefact)
    model_root = fetcher.fetch(model.artefact)
    return ServerSpec(
        build=build_name(build),
        engine=build.engine,
        launcher=build.launcher,
        accelerator=build.accelerator,
        engine_root=engine_root,
        engine_sha256=digest(build.artefact),
        executable=build.executable,
        model=model.name,
        model_path=model_root / model.artefact[0].name,
        model_sha256=digest(model.artefact),
        context=context,
        parameters=tuple(sorted(parameters)),
    )
