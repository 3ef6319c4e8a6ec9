"""What a launcher is asked to do: one line of JSON on its standard input."""

from __future__ import annotations

import json
from typing import NamedTuple


class Order(NamedTuple):
    """One command and all that it may see; paths are absolute and without links."""

    layer: str
    """Which of the launchers carries it out."""
    helper: list[str]
    """The program that confines, where it is not ours, and the arguments that only its starter knows."""
    words: list[str]
    """The program, by its path inside, and its arguments."""
    environ: dict[str, str]
    folder: str
    """The one folder that may be written."""
    readable: list[str]
    """Folders and files that may be read at the same path."""
    links: dict[str, str]
    """Links to make, and where they lead."""
    hidden: list[str]
    """Folders and files inside the readable ones that may not be read."""
    guards: list[str]
    """Folders inside the writable one that must keep their names, outer ones first."""
    covered: list[str]
    """Folders and files inside the writable one that may not be seen."""
    silenced: list[str]
    """Files and folders below ``/proc`` that tell of the whole machine."""
    network: bool
    memory_bytes: int
    processes: int
    file_bytes: int

    def line(self) -> bytes:
        return json.dumps(self._asdict()).encode() + b"\n"


def read(line: bytes) -> Order:
    return Order(**json.loads(line))
