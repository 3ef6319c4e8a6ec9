"""What is written about each launch of a server: one folder below the home's, named after its mark.

``record.json`` is written before a process is started, again as soon as there is one, and once more when it is ready;
each write is complete or absent after a crash. The processes carry the record that they were born with, so that a
folder that is lost loses nothing but time. ``alive`` is a file that the launch has locked: the kernel keeps the lock
as long as any process of it runs, in this container or another. ``leases.py`` says who uses the server.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from concierge import files, jsontext, mutex, paths
from concierge.endpoint import Endpoint
from concierge.errors import ConfigError, ServerError
from concierge.server.processes import identity as identities

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.paths import Home
    from concierge.server.processes.identity import Identity

SCHEMA = 2
KEPT = 5
"""Launches whose log is kept, the newest included."""

State = Literal["intent", "starting", "ready", "stopping"]
Kind = Literal["engine", "command"]


@dataclass(frozen=True, slots=True)
class Record:
    """One launch of a server.

    Attributes:
        launch: Random mark that every process of the launch carries in its environment.
        began: When, in seconds since the epoch: orders launches, and nothing else.
        machine: Where it was started.
        home: The home that it belongs to.
        wants: Digest of the desired state that it was started for.
        kind: Our own engine, or the command of the configuration.
        identity: The process, once there is one.
        base_url: Where it answers, once that is known.
        context: Tokens that it gives to one request, as it said itself.
    """

    launch: str
    began: float
    machine: str
    home: str
    state: State
    wants: str
    kind: Kind
    model: str
    log: str
    identity: Identity | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    context: int | None = None

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it answers; the key of a command is not in the record, so such a server may refuse."""
        return None if self.base_url is None else Endpoint(self.base_url, self.model, self.api_key, owned=True)

    @property
    def text(self) -> str:
        """The record as it is written, and as its processes carry it."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})


def parse(text: bytes | str) -> Record | None:
    """Return the record that ``text`` is, or None: garbage says nothing about any server."""
    try:
        known = jsontext.parse(text)
        if known.pop("schema") != SCHEMA:
            return None
        record = Record(**known)
        abroad = record.endpoint is not None and not record.endpoint.address.loopback
        words = (record.launch, record.machine, record.home, record.wants, record.model, record.log)
        told = all(isinstance(word, str) for word in words) and isinstance(record.began, int | float)
        if not told or record.state not in get_args(State) or record.kind not in get_args(Kind) or abroad:
            return None
        if not record.launch.isalnum():  # it names a folder
            return None
        named = None if record.identity is None else identities.parse(record.identity)
        return replace(record, identity=named)
    except (TypeError, ValueError, AttributeError, KeyError, ConfigError):
        return None


def place(home: Home) -> str:
    """Return how records name a home."""
    return os.path.realpath(home.root)


class Folder:
    """What is on the disk of one launch."""

    def __init__(self, home: Home, launch: str) -> None:
        self._root = home.root
        self.path: Path = home.run / "servers" / launch
        self.file = self.path / "record.json"
        self.alive = self.path / "alive"
        self.log = self.path / "server.log"
        self._end = self.path / "ended"
        self._stop = self.path / "stopped"

    def make(self) -> None:
        with files.storing(self.path, ServerError, hint="Make that folder writable."):
            paths.make(self.path, self._root)

    def read(self) -> Record | None:
        """Return the record, or None when there is none, it was cleared, or what is there is none."""
        try:
            return parse(self.file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ServerError(
                f"Cannot read {self.file}: {error.strerror}.",
                where=str(self.file),
                hint="Make it readable, or remove it: a server that runs is found all the same.",
            ) from None

    def write(self, record: Record) -> None:
        """Replace the record, so that a crash leaves the old one or the new one."""
        self.make()
        with files.storing(self.file, ServerError, hint="Make that folder writable."):
            files.replace(self.file, record.text.encode(), mode=0o600)

    def clear(self) -> None:
        """Say that the launch is over; its log stays for a while."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    def note_end(self, status: int) -> None:
        """Write down how the started process ended, for those who are not its parent."""
        with suppress(OSError), open(self._end, "w", encoding="ascii", opener=_private) as file:
            file.write(str(status))

    def end(self) -> int | None:
        """Return how the started process ended, if its parent was there to see it."""
        try:
            return int(self._end.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def note_stop(self) -> None:
        """Write down that whatever ends now was told to."""
        with suppress(OSError), open(self._stop, "w", encoding="ascii", opener=_private):
            pass

    def stopped(self) -> bool:
        """Tell whether it was, or is being, stopped by a command, and did not end by itself."""
        return self._stop.exists()

    def lease(self) -> Path:
        """Return a new lease's name."""
        return self.path / f"lease-{os.urandom(4).hex()}"

    def leases(self, *, sweep: bool = False) -> list[Path]:
        """Return the leases that are held. Only who holds the lock may sweep the others: a new one is free at first."""
        held = []
        for file in sorted(self.path.glob("lease-*")):
            with suppress(OSError):
                if mutex.is_held(file):
                    held.append(file)
                elif sweep:
                    file.unlink()
        return held

    def held(self) -> bool:
        """Tell whether a process of the launch lives, wherever: the kernel knows."""
        try:
            return mutex.is_held(self.alive)
        except OSError:
            return False


def recorded(home: Home) -> list[Record]:
    """Return every record of the home, the newest first; those in a copy of another home are that one's."""
    here, found = place(home), []
    for folder in folders(home):
        record = folder.read()
        if record and record.launch == folder.path.name and (record.home == here or folder.held()):
            found.append(record)
    return sorted(found, key=lambda record: record.began, reverse=True)


def forget_old(home: Home) -> None:
    """Remove what is left of launches that are over, but for the newest logs."""
    recordless = [folder for folder in folders(home) if not folder.file.exists()]
    # Who used it may want to know yet how it ended.
    over = [folder for folder in recordless if not folder.held() and not folder.leases()]
    for folder in sorted(over, key=age)[: -(KEPT - 1)]:
        files.remove(folder.path)


def folders(home: Home) -> list[Folder]:
    """Return what is on the disk of every launch of a home, those that are over included; in no order."""
    try:
        names = os.listdir(home.run / "servers")  # noqa: PTH208  # names are what is wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        where = str(home.run / "servers")
        raise ServerError(
            f"Cannot read {where}: {error.strerror}.", where=where, hint="Make that folder readable."
        ) from None
    return [Folder(home, name) for name in names if name.isalnum()]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def age(folder: Folder) -> float:
    """Return when a launch wrote its log last, in seconds since the epoch; 0 where it wrote none."""
    try:
        return folder.log.stat().st_mtime
    except OSError:
        return 0.0
