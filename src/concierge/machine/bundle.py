"""The probe bundle: what this computer said when it was asked, before anybody interprets it.

On disk it is one JSON object; a text of several lines is a list of lines, so that people can read and review it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from concierge import jsontext
from concierge.errors import UsageError
from concierge.processes import Output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = 1
_HINT = "Write one with `concierge doctor --capture FILE`."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One recorded machine.

    Attributes:
        platform: ``system`` (``linux``, ``darwin``, ``windows``), ``machine``, ``release``, ``version``, as Python
            names them.
        environment: The variables that change what an engine sees.
        files: The content of each file that could be read, by path.
        unreadable: The files that are there but refuse to be read, with the system's word for why.
        links: The targets of symbolic links, such as a PCI device's driver.
        listings: The names in a folder.
        access: Device nodes: ``owner``, ``group``, ``mode``, and whether this user may ``read`` and ``write``.
        commands: The commands that were run, by the line a person would type.
        answers: What libraries answered in this process or a child: ``nvml``, ``cuda``, ``vulkan``, ``metal``,
            ``dxgi``, ``registry``, ``cpu``, ``libc``, ``firmware``, ``user``.
        libraries: The path of each runtime library that was found.
        failures: The parts of the probe that gave nothing, with why.
    """

    platform: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    listings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    access: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    commands: Mapping[str, Output] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """``linux``, ``darwin``, ``windows`` or another word, in lower case."""
        return self.platform.get("system", "").lower()

    def text(self, path: str) -> str:
        """Return a file's content without its outer blanks; empty when it was not read."""
        return self.files.get(path, "").strip(" \t\r\n\0")

    def answer(self, name: str) -> Mapping[str, Any]:
        """Return what a library answered; empty when it was not asked or said nothing sensible."""
        found = self.answers.get(name)
        return found if isinstance(found, dict) else {}

    def records(self, name: str, key: str) -> list[Mapping[str, Any]]:
        """Return the list of objects under ``key`` of an answer, without what is no object."""
        found = self.answer(name).get(key)
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def command(self, prefix: str) -> Output | None:
        """Return the first command whose line starts with ``prefix``, in the order they were run."""
        return next((output for line, output in self.commands.items() if line.startswith(prefix)), None)

    def printed(self, prefix: str) -> str:
        """Return what the first such command printed; empty when there was none."""
        output = self.command(prefix)
        return output.stdout if output else ""

    def below(self, folder: str) -> list[str]:
        """Return the names directly below ``folder`` that any recorded path shows, sorted."""
        prefix = folder.rstrip("/") + "/"
        paths = (*self.files, *self.links, *self.unreadable, *self.listings)
        return sorted({path[len(prefix) :].split("/", 1)[0] for path in paths if path.startswith(prefix)})


def dumps(bundle: Bundle) -> str:
    """Return the bundle as the JSON text that is written to disk."""
    document = {one.name: getattr(bundle, one.name) for one in fields(bundle)}
    document["files"] = {path: _folded(text) for path, text in bundle.files.items()}
    document["commands"] = {line: _written(output) for line, output in bundle.commands.items()}
    kept = {"format": FORMAT} | {name: part for name, part in document.items() if part}
    return json.dumps(kept, indent=2, ensure_ascii=False) + "\n"


def from_json(document: object) -> Bundle:
    """Return the bundle that a parsed document holds; parts of the wrong shape are left out."""
    parts = document if isinstance(document, dict) else {}
    return Bundle(
        platform=_texts(parts.get("platform")),
        environment=_texts(parts.get("environment")),
        files=_texts(parts.get("files")),
        unreadable=_texts(parts.get("unreadable")),
        links=_texts(parts.get("links")),
        listings={k: tuple(n for n in v if isinstance(n, str)) for k, v in _mapping(parts.get("listings"), list)},
        access=dict(_mapping(parts.get("access"), dict)),
        commands={line: _output(entry) for line, entry in _mapping(parts.get("commands"), dict)},
        answers=dict(_mapping(parts.get("answers"), dict)),
        libraries=_texts(parts.get("libraries")),
        failures=_texts(parts.get("failures")),
    )


def loads(text: str, *, where: str) -> Bundle:
    """Return the bundle that ``text`` holds; one of another format is a ``UsageError``."""
    try:
        document = jsontext.parse(text)
    except ValueError as error:
        raise UsageError(f"This is not a probe bundle: {error}", where=where, hint=_HINT) from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise UsageError(f"This is not a probe bundle of format {FORMAT}.", where=where, hint=_HINT)
    return from_json(document)


def load(path: Path) -> Bundle:
    """Read a bundle from a file, or from the ``bundle.json`` of a fixture folder.

    Raises:
        UsageError: It cannot be read, or it is not a bundle.
    """
    file = path / "bundle.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"The bundle cannot be read: {reason}", where=str(file), hint=_HINT) from error
    return loads(text, where=str(file))


def _folded(text: str) -> str | list[str]:
    return text.split("\n") if "\n" in text else text


def _written(output: Output) -> dict[str, Any]:
    told = {"exit": output.exit, "stdout": _folded(output.stdout), "stderr": _folded(output.stderr)}
    return {name: value for name, value in told.items() if value != ""}


def _unfolded(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return None


def _mapping(value: object, kind: type[T]) -> list[tuple[str, T]]:
    items = value.items() if isinstance(value, dict) else ()
    return [(key, item) for key, item in items if isinstance(key, str) and isinstance(item, kind)]


def _texts(value: object) -> dict[str, str]:
    unfolded = {key: _unfolded(item) for key, item in _mapping(value, object)}
    return {key: text for key, text in unfolded.items() if text is not None}


def _output(entry: Mapping[str, Any]) -> Output:
    code = entry.get("exit")
    return Output(
        exit=code if isinstance(code, int) else None,
        stdout=_unfolded(entry.get("stdout")) or "",
        stderr=_unfolded(entry.get("stderr")) or "",
    )
