"""The one place where an event is emitted: written, then handed to whoever subscribed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from concierge import files, mutex
from concierge.agent.events import Event, RunResult
from concierge.agent.runs import unwritable
from concierge.documents import document
from concierge.errors import RunError

if TYPE_CHECKING:
    from concierge.agent.runs import RunFolder

Subscriber = Callable[[Event], None]

SHORTEST_SECRET = 8
"""Placeholders such as ``none`` or ``ollama`` are ordinary words; redacting them would spoil the journal."""
REDACTED = "[redacted]"
UNWRITTEN = "The run's record cannot be written"

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)


class Journal:
    """The append-only record of one run; ``secrets`` are replaced before anything is written."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        subscribers: Collection[Subscriber] = (),
        secrets: Collection[str] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder = folder
        self.ended = False
        self._subscribers = list(subscribers)
        # The longest first: one secret may be the beginning of another.
        self._secrets = sorted((text for text in secrets if len(text) >= SHORTEST_SECRET), key=len, reverse=True)
        self._now = now
        self._seq = 0
        self._size = 0
        try:
            self._file = os.open(folder.events, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise unwritable(UNWRITTEN, folder.events, error) from None
        # Held until the journal is closed, however that comes about: a reader sees by it whether the run goes on.
        with contextlib.suppress(OSError):
            mutex.lock(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def emit(self, event: Event) -> None:
        """Stamp the event, write its line and tell the subscribers."""
        if self.ended:
            raise RuntimeError(f"{event.kind} after the run's end")
        self._write(self._stamped(event))

    def end(self, result: RunResult) -> RunResult:
        """Write the terminal event and ``result.json``, each as far as the disk allows; return what was written."""
        stamped = self._stamped(result)
        try:
            self._end(stamped)
        except RunError:
            # The text may be what did not fit, and how the run ended matters more.
            with contextlib.suppress(RunError):
                self._end(dataclasses.replace(stamped, text=""))
            raise
        return stamped

    def _end(self, stamped: RunResult) -> None:
        try:
            if not self.ended:
                self._write(stamped)
        finally:
            try:
                files.replace(self.folder.result, _json(document(**stamped.as_dict()), indent=2))
            except OSError as error:
                raise unwritable(UNWRITTEN, self.folder.result, error) from None

    def _stamped(self, event: E) -> E:
        ts = self._now().isoformat(timespec="microseconds")
        return self._redacted(dataclasses.replace(event, ts=ts, id=self.folder.id, seq=self._seq))

    def _write(self, stamped: Event) -> None:
        self._append(_json(stamped.as_dict()))
        self._seq += 1
        self.ended = isinstance(stamped, RunResult)
        self._tell(stamped)

    def _append(self, line: bytes) -> None:
        try:
            done = 0
            while done < len(line):
                done += os.write(self._file, line[done:])
        except OSError as error:
            # Half a line would hide the terminal event that may still fit.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise unwritable(UNWRITTEN, self.folder.events, error) from None
        self._size += len(line)

    def _tell(self, event: Event) -> None:
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                # A broken console ends no run.
                logger.exception("A subscriber of run %s failed and gets no more events", self.folder.id)
                self._subscribers.remove(subscriber)

    def _redacted(self, event: E) -> E:
        if not self._secrets:
            return event
        return dataclasses.replace(event, **{name: self._clean(value) for name, value in event.own().items()})

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, REDACTED)
            return value
        if isinstance(value, Mapping):
            return {self._clean(name): self._clean(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._clean(part) for part in value)
        return value


def _json(value: object, *, indent: int | None = None) -> bytes:
    # Text that UTF-8 cannot hold (a lone surrogate) becomes a JSON escape.
    return json.dumps(value, ensure_ascii=False, indent=indent).encode("utf-8", "backslashreplace") + b"\n"
