"""The one file that says which server is ours.

It is written before a process is started, again as soon as there is one, and once more when it is ready; each
write is complete or absent after a crash. Whoever changes it holds the lock and changes only its own launch.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from concierge import files, jsontext
from concierge.endpoint import Endpoint
from concierge.errors import ConfigError, ServerError
from concierge.server.processes import identity as identities
from concierge.server.processes.identity import host

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.paths import Home
    from concierge.server.processes.identity import Identity

SCHEMA = 1

State = Literal["intent", "starting", "ready", "stopping"]
Kind = Literal["engine", "command"]


@dataclass(frozen=True, slots=True)
class Record:
    """One launch of a server.

    Attributes:
        generation: Counts the launches of this home.
        launch: Random mark that every process of the launch carries in its environment.
        wants: Digest of the desired state that it was started for.
        kind: Our own engine, or the command of the configuration.
        starter: The command that started it; says where its pids mean anything.
        identity: The process, once there is one.
        waiters: The commands that wait for it to become ready.
        base_url: Where it answers, once that is known.
        context: Tokens that it gives to one request, as it said itself.
    """

    generation: int
    state: State
    launch: str
    wants: str
    kind: Kind
    model: str
    log: str
    starter: Identity
    identity: Identity | None = None
    waiters: tuple[Identity, ...] = ()
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    context: int | None = None

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it answers; the key of a command is not in the record, so such a server may refuse."""
        return None if self.base_url is None else Endpoint(self.base_url, self.model, self.api_key, owned=True)


class RecordFile:
    """The record on disk."""

    def __init__(self, home: Home) -> None:
        # A home may be shared by several machines; each keeps its own record in it.
        self.path: Path = home.run / f"server-{host()}.json"

    def read(self) -> Record | None:
        """Return the record of the last launch, or None when there is none or it was stopped."""
        document = self._document()
        return None if document.get("state") == "absent" or not document else self._parse(document)

    def write(self, record: Record) -> None:
        """Replace the record, so that a crash leaves the old one or the new one."""
        self._replace({"schema": SCHEMA, **asdict(record)})

    def clear(self, record: Record) -> None:
        """Say that the launch is over, unless the file speaks of another one by now."""
        current = self._document()
        if current.get("launch") == record.launch:
            # Where the disk is full the record stays, and is read as what it is: one of processes that are gone.
            with suppress(ServerError):
                self._replace({"schema": SCHEMA, "state": "absent", "generation": record.generation})

    def next_generation(self) -> int:
        """Return the number of the launch to come."""
        last = self._document().get("generation", 0)
        return last + 1 if isinstance(last, int) else 1

    def _document(self) -> dict[str, Any]:
        try:
            document = jsontext.parse(self.path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ServerError(f"Cannot read {self.path}: {error.strerror}.", where=str(self.path)) from None
        except ValueError:
            raise self._damaged() from None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise self._damaged()
        return document

    def _parse(self, document: dict[str, Any]) -> Record:
        try:
            known = {name: value for name, value in document.items() if name != "schema"}
            record = Record(**known)
            abroad = record.endpoint is not None and not record.endpoint.address.loopback
            counted = type(record.generation) is int
            if record.state not in get_args(State) or not record.launch or not counted or abroad:
                raise self._damaged()
            return replace(
                record,
                starter=identities.parse(record.starter),
                identity=None if record.identity is None else identities.parse(record.identity),
                waiters=tuple(identities.parse(waiter) for waiter in record.waiters),
            )
        except (TypeError, ValueError, AttributeError, ConfigError):
            raise self._damaged() from None

    def _damaged(self) -> ServerError:
        return ServerError(
            f"The server record {self.path} is damaged, so nothing is stopped or started.",
            where=str(self.path),
            hint="End the server by hand if one runs, then remove that file.",
        )

    def _replace(self, document: dict[str, Any]) -> None:
        with files.storing(self.path, ServerError, hint="Make that folder writable."):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.replace(self.path, json.dumps(document, indent=1).encode(), mode=0o600)
