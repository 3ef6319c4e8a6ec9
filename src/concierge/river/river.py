"""The application: what the command line, the HTTP API and a Python program call."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from concierge import paths
from concierge.config import sources
from concierge.river.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from concierge.agent.changes import Changes
    from concierge.agent.events import RunResult
    from concierge.agent.journal import Subscriber
    from concierge.agent.runs import RunRecord, RunSummary
    from concierge.agent.task import Limits
    from concierge.chat.client import OpenAICompatibleChatClient
    from concierge.chat.port import Delta
    from concierge.config.keys import Config
    from concierge.endpoint import Endpoint
    from concierge.lock.resolve import Difference
    from concierge.machine.types import Finding, Machine
    from concierge.plan.listing import EngineRow, ModelRow
    from concierge.plan.words import Plan
    from concierge.river.state import State
    from concierge.river.trust import Gate
    from concierge.river.tune import Tuned
    from concierge.server.leases import Lease
    from concierge.server.logs import ServerLog
    from concierge.server.status import ServerStatus
    from concierge.server.stop import Stopped
    from concierge.store.bundle import Bundled
    from concierge.store.progress import Progress


class River:
    """Everything that concierge does for one configuration, from a bare machine to an answer.

    Nothing is read, asked or started before a method needs it. Make one with ``River.open``.

    """

    def __init__(self, parts: Parts, leases: set[Lease] | None = None) -> None:
        self._parts = parts
        self._leases: set[Lease] = set() if leases is None else leases
        self._endpoint: Endpoint | None = None
        self._launch: str | None = None

    @classmethod
    def open(
        cls,
        folder: Path | str = ".",
        settings: Mapping[str, Any] | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        say: Callable[[str], None] | None = None,
        progress: Progress | None = None,
        machine: Path | None = None,
    ) -> Self:
        """Read the configuration that holds in ``folder``.

        Args:
            folder: The project: where ``concierge.toml`` and ``concierge.lock`` lie.
            settings: Keys of docs/configuration.md with their values, such as ``{"llm.model": "smollm2-135m"}``;
                they overrule files and variables, and None leaves a key alone.
            environ: The variables that hold.
            say: Takes one line of narration at a time; the logger ``concierge`` when None.
            progress: Draws downloads; nobody when None.
            machine: Another computer's probe bundle, to decide for it instead of this one.

        Raises:
            ConfigError: A file, a variable or a setting is wrong.
        """
        from concierge.store.progress import Silent

        place, say = Path(folder), say or _log()
        overrides = {tuple(name.split(".")): value for name, value in (settings or {}).items()}
        found = sources.settings(overrides, environ=environ, folder=place, say=say)
        wanted, home = sources.build(found), paths.home(environ)
        return cls(Parts(wanted, home, place, environ, say, progress or Silent(), found, machine))

    @property
    def started(self) -> bool:
        """Whether this river has started the server that it uses."""
        return self._launch is not None

    @property
    def config(self) -> Config:
        """What holds."""
        return self._parts.config

    @property
    def machine(self) -> Machine:
        """This computer, or the one whose bundle was given; probed once."""
        return self._parts.machine

    @property
    def judged(self) -> Machine:
        """The machine as the plan sees it: what a device can do is what a build that is offered does there."""
        from concierge.errors import ConciergeError
        from concierge.plan.constraints import judged

        try:
            return judged(self.machine, self._parts.offered.builds)
        except ConciergeError:  # nothing is offered, and the diagnosis says why
            return self.machine

    def say(self, line: str) -> None:
        """Tell whoever listens to this river."""
        self._parts.say(line)

    def plan(self) -> Plan:
        """Decide what should be here, and why. Changes nothing.

        Raises:
            NothingSuitableError: No engine or no model suits the machine.
        """
        return self.state.planned()

    def up(self) -> Endpoint:
        """Make sure that a server serves what is asked for, and return where it answers and with which key.

        Without ``llm.local_llm_ensure_available`` it is the configured server, which nobody asks.

        Raises:
            NothingSuitableError: No engine or no model suits this machine.
            ArtefactError: Bytes could not be had, are the wrong ones, or do not fit.
            ServerError: The server did not come up, or the configured one serves something else.
        """
        with self.using(declared=True) as endpoint:
            return endpoint

    @contextmanager
    def using(self, model: str | None = None, *, declared: bool = False) -> Iterator[Endpoint]:
        """Make sure of a server as ``up``, for a model by name if one is given, and hold its lease in the context.

        Unless what is ``declared`` is to be there, a healthy server of ours is used where nobody names a model.

        Meanwhile no other command replaces or gives up the server; only ``down`` stops it all the same.
        """
        if model is not None:
            with self._for(model).using(declared=declared) as endpoint:
                yield endpoint
            return
        from concierge.river.up import serve
        from concierge.server.leases import Lease

        with Lease(self._parts.home) as lease:
            self._leases.add(lease)
            try:
                endpoint = serve(self._parts, lease, declared=declared)
                self._endpoint = endpoint
                if lease.started and lease.record is not None:
                    self._launch = lease.record.launch
                yield endpoint
            finally:
                self._leases.discard(lease)

    def tune(self, *, seconds: float = 300.0) -> Tuned:
        """Measure this machine with the real engine, and keep the parameters that serve best for the plans to come.

        Args:
            seconds: After so many, nothing else is tried.

        Raises:
            ConciergeError: As ``up``; and ``ServerError`` where a server of ours is in use.
        """
        from concierge.river.tune import tune

        return tune(self._parts, seconds=seconds)

    def close(self) -> None:
        """Give up every start that other threads of this program wait for, and wait until each is gone."""
        from concierge.server import interrupts, stop
        from concierge.server.processes.table import wait_until

        with interrupts.once(spent=True):
            for lease in tuple(self._leases):
                lease.cancelled.set()
            wait_until(lambda: not any(lease.waiting for lease in tuple(self._leases)), within_s=stop.LONGEST_S)

    def leave(self) -> None:
        """Stop the server if this river started it and nobody else uses it."""
        from concierge.server import stop

        if self._launch is not None:
            stop.give_up(self._launch, self._parts.home, say=self._parts.say, environ=self._parts.environ)
        self._endpoint = self._launch = None

    def endpoint(self, model: str | None = None) -> Endpoint:
        """Return where a model by name (what is configured when None) answers; raises as ``up``, and may block."""
        with self.using(model) as endpoint:
            return endpoint

    def chat(self, endpoint: Endpoint) -> OpenAICompatibleChatClient:
        """Return a ``ChatClient`` for an endpoint; close it, or use it in ``async with``."""
        from concierge.river.converse import Client

        return Client(self._parts, endpoint, self._leases)

    async def run(
        self,
        task: str,
        *,
        endpoint: Endpoint | None = None,
        limits: Limits | None = None,
        inside: Path | None = None,
        continues: str | None = None,
        on_event: Subscriber | None = None,
        on_delta: Callable[[Delta], None] | None = None,
    ) -> RunResult:
        """Let the model do a task, in a run directory of its own below ``workspace_root``.

        Args:
            task: What to do, in a person's words.
            endpoint: Who answers; when None, what the last ``up`` returned, else what ``up`` returns now.
            limits: What the run may spend; what is configured when None.
            inside: The folder of files to work on; when None, a fresh one in the run's directory.
            continues: The run whose conversation and folder this one goes on with; an empty task then goes on with its.
            on_event: Called with each event after it is journalled.
            on_delta: Called with each piece of an answer as it arrives.

        Returns:
            The result, whatever its outcome: only ``done`` is a success.

        Raises:
            ConciergeError: As ``up``; and ``RunError`` when the run's directory cannot be written.
        """
        import asyncio

        from concierge.agent.going_on import GO_ON, past
        from concierge.agent.task import Task
        from concierge.agent.task import limits as allowed
        from concierge.river.acting import protocol
        from concierge.river.converse import converse

        before = None if continues is None else past(self.config.workspace_root, continues)
        there = endpoint or self._endpoint
        if there is None:
            there = await asyncio.to_thread(self.up)
        asked = Task(
            task or GO_ON,
            there.model,
            limits=limits or allowed(self.config.run, there.context),
            offer_tools=there.tools,
            context=there.context,
            temperature=None if self.config.llm.temperature == "auto" else self.config.llm.temperature,
            protocol=await protocol(self._parts, there, self._leases),
        )
        subscribers = () if on_event is None else (on_event,)
        return await converse(
            self._parts,
            there,
            asked,
            inside=inside,
            past=before,
            subscribers=subscribers,
            on_delta=on_delta,
            leases=self._leases,
        )

    def runs(self, *, limit: int | None = None) -> list[RunSummary]:
        """Return the runs below ``workspace_root``, newest first.

        Raises:
            RunError: The folder is there but cannot be read.
        """
        from concierge.agent.runs import list_runs

        return list_runs(self.config.workspace_root, limit=limit)

    def changes(self, run_id: str) -> Changes | None:
        """Return what a run changed in the folder that it was given; None where it had one of its own.

        Raises:
            UnknownRunError: There is no such run.
        """
        from concierge.agent import changes, runs

        return changes.read(runs.find(self.config.workspace_root, run_id).kept)

    def is_run(self, run_id: str) -> bool:
        """Tell whether this names a run, as ``read_run`` takes it."""
        from concierge.agent import runs
        from concierge.errors import UnknownRunError

        try:
            runs.find(self.config.workspace_root, run_id)
        except UnknownRunError:
            return False
        return True

    def read_run(self, run_id: str) -> RunRecord:
        """Return one run with all its events.

        Raises:
            UnknownRunError: There is none of that name.
            RunError: Its journal is damaged, or another release wrote it.
        """
        from concierge.agent.runs import read_run

        return read_run(self.config.workspace_root, run_id)

    def status(self) -> ServerStatus:
        """Return what serves the model now. Changes nothing.

        Raises:
            ServerError: The record is damaged or unreadable.
        """
        return self.state.status()

    def log(self) -> ServerLog:
        """Return the log of the server that concierge started last, of those that run first.

        Raises:
            ServerError: None was ever started here, or the launches cannot be read.
        """
        from concierge.server.logs import newest

        found = newest(self._parts.home)
        if found is None:
            from concierge.errors import ServerError

            raise ServerError(
                "No server of ours was started here yet, so there is no log.",
                where=str(self._parts.home.run),
                hint="`concierge up` starts one.",
            )
        return found

    def down(self, *, drain_s: float | None = None) -> Stopped | None:
        """Stop the server that concierge started and wait until it is gone; None when none of ours runs.

        Args:
            drain_s: Seconds that an answer in progress may take.

        Raises:
            ServerError: The lock cannot be had, the record is damaged, or the server survives being killed.
        """
        from concierge.server import stop

        drain = stop.DRAIN_S if drain_s is None else drain_s
        self._endpoint = self._launch = None
        return stop.down(self._parts.home, say=self._parts.say, drain_s=drain, environ=self._parts.environ)

    def diagnose(self) -> tuple[Finding, ...]:
        """Return what is wrong with the machine, or with what the plan relies on.

        Why there is no plan is a finding too.
        """
        from concierge.errors import ConciergeError
        from concierge.plan.doctor import diagnose
        from concierge.plan.words import Running
        from concierge.river.up import here

        running = Running()
        try:
            running = here(self._parts)
            decided: Plan | ConciergeError = self._parts.plan(running)
        except ConciergeError as error:
            decided = error
        return diagnose(self.machine, self.config.llm, decided, running)

    def models(self) -> list[ModelRow]:
        """Return the models that may be chosen, with what each would do on this machine."""
        from concierge.plan.listing import models

        return models(self.machine, self._parts.offered, self.config.llm)

    def engines(self) -> list[EngineRow]:
        """Return the engine builds for this system: which run here, and why the others do not."""
        from concierge.plan.listing import engines

        return engines(self.machine, self._parts.offered)

    def lock(self, *, upgrade: Sequence[str] = ()) -> Path:
        """Write ``concierge.lock``: what the configuration resolves to, for every system and accelerator at once.

        What moves is said. With ``upgrade`` only the models and engines of these names move.

        Raises:
            ConfigError: The model reference can move, or cannot be described, or the file cannot be written.
            FetchError: The model is a repository's, and it did not answer.
        """
        from concierge.river.lock import write

        return write(self._parts, upgrade)

    def lock_diff(self, *, upgrade: Sequence[str] = ()) -> list[Difference]:
        """Return what ``lock`` would change; raises as it does, and ``ConfigError`` where there is no lock."""
        from concierge.river.lock import diff

        return diff(self._parts, upgrade)

    def bundle(self, target: Path, *, systems: Sequence[str] = (), accelerators: Sequence[str] = ()) -> Bundled:
        """Bring all that ``concierge.lock`` pins into a folder that ``mirror`` may name on other machines.

        Args:
            target: The folder; what is there and whole stays.
            systems: Whose engines, by name; all of the lock's where none is named.
            accelerators: For what they are, likewise.

        Raises:
            ConfigError: There is no lock.
            UsageError: The lock pins no engine of a kind that is named.
            ConciergeError: As fetching does.
        """
        from concierge.river.lock import bundle

        return bundle(self._parts, target, systems, accelerators)

    def lock_first(self) -> None:
        """Write the lock of a project that has a ``concierge.toml`` and no lock yet; raises as ``lock``."""
        from concierge.river.lock import write_first

        write_first(self._parts)

    def check_lock(self) -> list[Difference]:
        """Return why ``concierge.lock`` is not what ``lock`` would write now; empty when it is current.

        Raises:
            ConfigError: There is no lock.
        """
        from concierge.river.lock import check

        return check(self._parts)

    def set_key(self, name: str, words: str, *, user: bool = False) -> Path:
        """Set a key in the project's ``concierge.toml``, or in the person's own, and return the file; the rest stays.

        Raises:
            ConfigError: There is no such key, it does not hold that, or the file cannot be changed so.
        """
        from concierge.river.configure import set_key

        return set_key(self._parts, name, words, user=user)

    @property
    def gate(self) -> Gate:
        """What this project's files ask for that only its user may allow: looked at, allowed, taken back."""
        return self._parts.gate

    @property
    def state(self) -> State:
        """What was brought up here: verified, compared, gone back to, tidied and taken away."""
        from concierge.river.state import State

        return State(self._parts)

    def _for(self, model: str) -> River:
        llm = replace(self.config.llm, model=model)
        return River(replace(self._parts, config=replace(self.config, llm=llm)), self._leases)


def _log() -> Callable[[str], None]:
    import logging

    return logging.getLogger("concierge").info
