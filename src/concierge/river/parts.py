"""What the river is made of, each part made when it is first asked for: the only place that constructs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from concierge.catalog.types import Artefact, Catalog, Source
    from concierge.config.keys import Config, KeyPath
    from concierge.config.sources import Setting
    from concierge.deploy.apply import Applier
    from concierge.deploy.generation import Generation, Generations
    from concierge.deploy.question import Pairs
    from concierge.deploy.rates import Measured
    from concierge.endpoint import Endpoint
    from concierge.lock.foreign import Describe
    from concierge.machine.types import Machine
    from concierge.paths import Home
    from concierge.plan.words import Failed, Foreseen, Plan, Running
    from concierge.river.trust import Gate
    from concierge.store.fetch import Deliver, Fetcher
    from concierge.store.progress import Progress


@dataclass
class Parts:
    """What one river works with.

    Attributes:
        config: What is wanted.
        home: Where everything is kept.
        folder: The project: where ``concierge.lock`` lies and relative paths start.
        environ: The variables that hold.
        say: Takes one line of narration at a time.
        progress: Draws downloads.
        found: The settings that ``config`` was built of, each with the place that made it.
        bundle: Another computer's probe bundle, to decide for it; None is this computer.
    """

    config: Config
    home: Home
    folder: Path
    environ: Mapping[str, str]
    say: Callable[[str], None]
    progress: Progress
    found: Mapping[KeyPath, Setting] = field(default_factory=dict)
    bundle: Path | None = None

    @property
    def named(self) -> bool:
        """Whether the server is a person's own, and nothing is started in its place: it is used, or it is an error."""
        from concierge.config.sources import named

        llm = self.config.llm
        connect = llm.never_started or not llm.local_llm_ensure_available or not llm.address.loopback
        return connect or (named(self.found) and not llm.local_llm_start_cmd)

    @cached_property
    def gate(self) -> Gate:
        """What stands before everything that acts on the project's files."""
        from concierge.lock.trust import Trusted
        from concierge.river.trust import Gate

        return Gate(self.found, self.folder, Trusted(self.home), self.config.trust, self.say)

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
        from dataclasses import replace

        from concierge.machine.capture.probe import probe

        found = probe()
        return replace(found, cpu=replace(found.cpu, reads_gb_s=self.measured.reads_gb_s))

    @cached_property
    def measured(self) -> Measured:
        """What was measured on this computer."""
        from concierge.deploy import rates

        return rates.load(self.home)

    @cached_property
    def catalog(self) -> Catalog:
        """What may be chosen from: the lock where there is one, else this release's catalogue."""
        self.gate.settings()
        return self._with_flake(self._pinned())

    def _pinned(self) -> Catalog:
        from concierge.river.pins import pinned

        flags = [".".join(key) for key, setting in self.found.items() if setting.place == "command line"]
        return pinned(self.config, self.folder, self.describe, self.say, allow=self.gate.lock, flags=flags)

    @cached_property
    def describe(self) -> Describe:
        """What finds out size, hash and header of a model that is not in the catalogue."""
        from concierge.river.pins import describer

        return describer(self.environ, self.say)

    @cached_property
    def offered(self) -> Catalog:
        """What this release offers, whatever is configured; with ``locked``, what the lock does."""
        from concierge.catalog.loader import load

        return self.catalog if self.config.locked else self._with_flake(load())

    def _with_flake(self, found: Catalog) -> Catalog:
        if self.flake is None or self.config.locked or self.machine.system is None:
            return found
        from concierge.store.sources.nix import with_engines

        return with_engines(found, self.machine.system, self.flake, self._flake_llama_cpp)

    @cached_property
    def _flake_llama_cpp(self) -> int | None:
        from concierge.store.sources.nix import llama_cpp

        assert self.flake is not None
        assert self.machine.system is not None
        return llama_cpp(self.flake, self.machine.system)

    @cached_property
    def flake(self) -> str | None:
        """The flake whose engines come first: the configured one, or the one that concierge was started from."""
        return self.config.llm.flake or self.environ.get("CONCIERGE_FLAKE")

    @cached_property
    def question(self) -> Pairs:
        """What is asked for, read from bytes alone: a warm command parses no catalogue."""
        from concierge.deploy.question import question

        return question(self.config.llm, self._pins(), folder=self.folder)

    @cached_property
    def asked(self) -> str:
        """Digest of what is asked for."""
        from concierge.deploy.question import asked_digest

        return asked_digest(self.question)

    def _pins(self) -> dict[str, bytes]:
        from concierge.deploy.question import LOCKED

        lock, shipped = self.folder / "concierge.lock", files("concierge.catalog")
        if lock.is_file():
            pins = {"lock": lock.read_bytes()}
        else:
            pins = {"catalogue": b"\0".join((shipped / name).read_bytes() for name in ("engines.toml", "models.toml"))}
        # What was chosen beside the lock does not answer what is asked for with nothing but the lock.
        locked = LOCKED.encode() if self.config.locked else b""
        beside = {"flake": (self.flake or "").encode(), "tuned": self.measured.tuned, LOCKED: locked}
        return pins | {name: pin for name, pin in beside.items() if pin}

    @cached_property
    def marks(self) -> Pairs:
        """What this machine is, as far as a look at a few small files tells."""
        from concierge.machine.capture.marks import marks

        return marks()

    def known(self) -> Generation | None:
        """Return the generation that already answers what is asked for.

        Raises:
            ConfigError: ``locked`` is set and the lock is missing or answers another configuration.
            TrustError: The project asks for what its user has not allowed.
        """
        self.gate.settings()
        found = self.generations.find(self.asked, self.marks)
        if self.config.locked if found is None else not self.gate.lock_is_settled():
            self._pinned()
        return found

    def plan(self, running: Running) -> Plan:
        """Decide for this machine.

        Raises:
            NothingSuitableError: No engine or no model suits it.
        """
        from concierge.plan.decide import plan

        return plan(self.machine, self.config.llm, self.catalog, running)

    def running(self, *, failed: tuple[Failed, ...] = (), endpoint: Endpoint | None = None) -> Running:
        """Return what is already here, for the plan; what ``failed`` is what did so just now, or last time."""
        from concierge.catalog.types import digest
        from concierge.plan.words import Running
        from concierge.store.store import free_space

        store, catalog = self.fetcher.store, self.catalog
        entries = [build.artefact for build in catalog.builds] + [model.artefact for model in catalog.models]
        current = self.generations.current()
        return Running(
            endpoint=endpoint,
            current=current.spec if current else None,
            serving=current is not None and self._serving(),
            stored=frozenset(digest(entry) for entry in entries if store.has(entry)),
            failed=failed or self._failed_here(),
            rates=self.measured.rates,
            disk_free=free_space(self.home.store),
            foreseen=self.foreseen,
        )

    def _failed_here(self) -> tuple[Failed, ...]:
        """Return the builds that did not serve on this very machine, with its drivers as they are now."""
        from concierge.plan.words import Failed

        found = self.generations.find(self.asked, self.marks)
        return () if found is None else tuple(Failed(name, reason) for name, reason in found.failed)

    @cached_property
    def foreseen(self) -> tuple[Foreseen, ...]:
        """What Nix would do for each of the flake's engines that could run here and that it has not brought yet."""
        if self.flake is None or self.config.locked:
            return ()
        from concierge.plan.words import Foreseen, build_name
        from concierge.store.sources import nix

        found = []
        for build in self.catalog.builds:
            source = build.artefact[0].sources[0]
            asked = self.config.llm.accelerator in ("auto", build.accelerator)
            if source.kind != "nix" or not asked or not self.machine.usable(build.accelerator).ok:
                continue
            if nix.built_before(self.home.root, self.flake, source.attribute):
                continue
            cost = nix.foresee(self.flake, source.attribute)
            if cost is not None:
                found.append(Foreseen(build_name(build), cost.compiled, cost.compiles, cost.bytes))
        return tuple(found)

    def _serving(self) -> bool:
        from concierge.server.status import status

        seen = status(self.home)
        return seen.state == "ready" and bool(seen.answers)

    @cached_property
    def fetcher(self) -> Fetcher:
        from concierge.store.fetch import Fetcher
        from concierge.store.sources import local
        from concierge.store.sources.https import Https, mirrored
        from concierge.store.sources.parts import Parts as JoinedParts
        from concierge.store.sources.pypi import Pypi
        from concierge.store.store import Store

        pypi = Pypi()
        deliver: dict[str, Deliver] = {
            "pypi": pypi,
            "https": Https(),
            "path": local.copy,
            "parts": JoinedParts(pypi),
        }
        if self.flake is not None:
            from concierge.store.sources.nix import FromFlake

            deliver["nix"] = FromFlake(self.flake, self.home.root, self.say)
        return Fetcher(
            Store(self.home.store),
            deliver,
            self.progress,
            self.say,
            lambda it: mirrored(it, self.environ),
            self._mirror,
        )

    def _mirror(self, artefact: Artefact) -> tuple[Source, ...]:
        if self.config.mirror is None:
            return ()
        from concierge.store import bundle

        return bundle.sources(self.config.mirror, self.folder, self.environ, artefact)

    @property
    def applier(self) -> Applier:
        """What makes a generation of the plan for this machine."""
        from concierge.deploy.apply import Applier

        def decide(failed: tuple[Failed, ...]) -> Plan:
            return self.plan(self.running(failed=failed))

        return Applier(decide, self.question, self.marks, self.fetcher, self.say)
