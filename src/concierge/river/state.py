"""The state of this machine: verified, compared with what is wanted, gone back to, tidied and taken away."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge.endpoint import Endpoint
from concierge.errors import ConciergeError, ServerError, StoreError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.deploy.gc import Garbage, Needed
    from concierge.deploy.verify import Verified
    from concierge.plan.words import Plan
    from concierge.river.history import Row
    from concierge.river.parts import Parts
    from concierge.server.launches import Launch
    from concierge.server.status import ServerStatus
    from concierge.server.stop import Stopped


@dataclass(frozen=True, slots=True)
class Back:
    """What a rollback did: the number that was current, the one that is, and the server that was stopped for it."""

    was: int | None
    generation: int
    build: str
    model: str
    context: int
    stopped: Stopped | None


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What was taken away, and what is left because it is its user's.

    Attributes:
        bytes: That were given back.
        left: What lies in the home and is not ours.
        runs: Folders of runs, which are never deleted.
    """

    home: str
    stopped: Stopped | None
    bytes: int
    left: tuple[str, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What was brought up in one home, for one configuration."""

    parts: Parts

    def status(self) -> ServerStatus:
        """Return what serves now, which generation is current, and what is not as it says.

        Raises:
            ServerError: The record is damaged or unreadable.
        """
        from concierge.river.compare import drifted
        from concierge.server.status import status

        parts = self.parts
        seen = status(parts.home, parts.config.llm, environ=parts.environ)
        pointer = parts.generations.pointer()
        drift = tuple(drifted(parts, seen.wants))
        number = None if pointer is None else pointer.number
        return replace(seen, generation=number, drift=drift, protocol=self._protocol(seen))

    def _protocol(self, seen: ServerStatus) -> str | None:
        """Return how the model acts that would be asked: ours, or the configured one."""
        from concierge.river.acting import known

        current, parts = self.parts.generations.current(), self.parts
        if seen.state == "ready" and seen.model and seen.base_url:
            ours = current is not None and current.spec.model == seen.model
            protocol = current.protocol if ours and current is not None else None
            return known(parts, Endpoint(seen.base_url, seen.model, owned=True, protocol=protocol))
        if seen.configured is not None and seen.configured.serves:
            return known(parts, Endpoint(seen.configured.base_url, parts.config.llm.model))
        return None

    def planned(self) -> Plan:
        """Return the plan, with what has drifted, and with what a rollback holds on to; raises as ``River.plan``."""
        from concierge.river.compare import planned

        return planned(self.parts)

    def verify(self, *, everything: bool = False) -> Verified:
        """Read every byte that the current generation needs (``everything``: that the store holds).

        Changes nothing but the time of a file whose content alone is another one, so that the next ``up`` sees it.

        Raises:
            StoreError: Nothing was brought up here yet, or another command has the store to itself.
        """
        from concierge.deploy.verify import verify
        from concierge.store import leftovers

        home, generations = self.parts.home, self.parts.generations
        pointer = generations.pointer()
        current = None if pointer is None else generations.read(pointer.number)
        if current is None and not (everything and home.store.is_dir()):
            raise StoreError(
                "Nothing was brought up here yet." if pointer is None else f"Generation {pointer.number} is lost.",
                where=str(home.root),
                hint="Run `concierge up`.",
            )
        with leftovers.used(home.store):
            return verify(current, home.store, everything=everything)

    def generations(self) -> list[Row]:
        """Return what was applied, oldest first, with what differs from one to the next."""
        from concierge.river.history import rows

        return list(rows(self.parts.generations))

    def rollback(self, number: int | None = None) -> Back:
        """Go back to an earlier generation, which answers from now on; its server is the next that is started.

        Raises:
            UsageError: There is no such generation.
            StoreError: Its bytes are gone or damaged.
            ServerError: The old server cannot be stopped.
        """
        from concierge.server import launches
        from concierge.store import leftovers

        parts, generations = self.parts, self.parts.generations
        pointer = generations.pointer()
        if pointer is None and not generations.all():
            raise UsageError("Nothing was brought up here yet.", hint="Run `concierge up`.")
        with leftovers.used(parts.home.store):
            now = generations.back(number)
        before = [launch for launch in launches.here(parts.home) if launch.record.kind == "engine"]
        stopped = None
        for launch in before:
            if launch.record.wants == now.spec.digest:
                continue
            gone = _stopped(parts, launch)
            if gone is None:
                parts.say(f"The server of {launch.record.model} is in use and is left to its users.")
            stopped = stopped or gone
        spec = now.spec
        was = None if pointer is None else pointer.number
        return Back(was, now.number, spec.build, spec.model, spec.context, stopped)

    def gc(self, *, keep: int | None = None, dry_run: bool = False) -> list[Garbage]:
        """Take away what no generation and no lock needs, and return it; ``keep`` leaves only the newest generations.

        Raises:
            StoreError: Another command uses the store, or it cannot be written.
        """
        from concierge.deploy import gc, projects, tidy
        from concierge.store import leftovers

        parts = self.parts
        needed = self._needed()
        with leftovers.alone(parts.home.store, parts.say):
            found = gc.garbage(parts.generations, needed, keep=keep)
            if not dry_run:
                gc.collect(found, parts.home.store)
                projects.forget_lost(parts.home)
                tidy.sweep(parts.home)
        return found

    def destroy(self) -> Destroyed:
        """Stop what runs, and take away everything that concierge made in its home; what is its user's stays.

        Raises:
            ServerError: A server runs in another container or on another machine, or does not end.
            StoreError: Another command uses the store.
        """
        from concierge import mutex
        from concierge.deploy import destroy, gc
        from concierge.server import interrupts, launches, stop
        from concierge.store import leftovers

        parts, home = self.parts, self.parts.home
        runs, size = tuple(map(str, self.runs())), gc.size(home.root)
        if not home.root.is_dir():
            return Destroyed(str(home.root), None, 0, (), runs)
        with (
            interrupts.once(),
            leftovers.alone(home.store, parts.say),
            mutex.held(home, environ=parts.environ, say=parts.say),
        ):
            for launch in launches.living(home):
                if not launch.members:
                    raise ServerError(
                        f"The server of {launch.record.model} runs in another container or on another machine.",
                        where=str(home.root),
                        hint="Stop it there first: it is served from this home.",
                    )
            stopped = stop.end_all(home, say=parts.say)
            left = destroy.remove(home)
            for lock in mutex.files(home, parts.environ):
                lock.unlink(missing_ok=True)
        return Destroyed(str(home.root), stopped, size - sum(map(gc.size, left)), tuple(map(str, left)), runs)

    def runs(self) -> list[Path]:
        """Return the folders of runs that are known: this project's, and those of the others that used this home."""
        from concierge.deploy import projects

        folders = [(self.parts.folder / self.parts.config.workspace_root).resolve()]
        folders += [folder / ".concierge" for folder in projects.known(self.parts.home)]
        return [runs for runs in dict.fromkeys(folder / "runs" for folder in folders) if runs.is_dir()]

    def _needed(self) -> Needed:
        """Return what the locks of the known projects name, and what the living servers were started for."""
        from concierge.catalog.types import digest
        from concierge.deploy import gc, projects
        from concierge.lock import file as lockfile
        from concierge.server import launches

        parts = self.parts
        artefacts = []
        for folder in dict.fromkeys((parts.folder.absolute(), *projects.known(parts.home))):
            if not (folder / lockfile.FILE).is_file():
                continue
            try:
                lock = lockfile.load(folder / lockfile.FILE)
            except ConciergeError as error:
                parts.say(f"{folder / lockfile.FILE} cannot be read, so nothing is kept for it: {error.what}")
                continue
            artefacts += [build.artefact for build in lock.build]
            artefacts += [model.artefact for model in lock.model]
        living = [launch.record for launch in launches.living(parts.home) if launch.record.kind == "engine"]
        return gc.Needed(
            frozenset(f"{digest(each)[:32]}-{each[0].name}" for each in artefacts),
            frozenset(artefact.sha256 for each in artefacts for artefact in each),
            frozenset(record.wants for record in living),
        )


def _stopped(parts: Parts, launch: Launch) -> Stopped | None:
    """Stop a server that nobody uses; None where somebody does."""
    from concierge.server import stop

    record, began = launch.record, time.monotonic()
    if stop.answering(record):
        return None
    if not stop.give_up(record.launch, parts.home, say=parts.say, environ=parts.environ):
        return None
    seconds = time.monotonic() - began
    return stop.Stopped(record.model, launch.leader.pid, record.base_url, forced=False, seconds=seconds)
