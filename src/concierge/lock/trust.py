"""What a project's files ask for that only its user may allow, and what this user has allowed.

A project is whoever wrote the folder that one happens to stand in: cloning it is no reason to run its commands. What
it asks for is named in full, allowed once for exactly this content, as ``direnv allow`` does, and asked again when it
changes. docs/security.md says who trusts whom.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concierge import endpoint, files, paths
from concierge.errors import StoreError, TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from concierge.catalog.types import Artefact, Catalog
    from concierge.config.keys import KeyPath
    from concierge.config.kinds import Secret
    from concierge.config.sources import Setting
    from concierge.lock.file import Lock
    from concierge.paths import Home

LARGE = 4 << 20
"""Bytes of a named file above which its size and time stand for its content."""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a project asks for.

    Attributes:
        what: What it would do, in full.
        place: The file that asks.
    """

    what: str
    place: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What one file asks for; ``digest`` is of its content and of the project's own files that it names."""

    requests: tuple[Request, ...]
    digest: str


class Trusted:
    """What the user of this home has allowed: a file for each digest, which tells a person what it was."""

    def __init__(self, home: Home) -> None:
        self._folder = home.trust

    def allows(self, asked: Asked) -> bool:
        """Return whether everything that is asked for is allowed."""
        return not asked.requests or (self._folder / asked.digest).exists()

    def holds(self, digest: str) -> bool:
        """Return whether this very content was allowed, or was found to ask for nothing."""
        return (self._folder / digest).exists()

    def allow(self, asked: Asked) -> None:
        """Remember that this content is allowed.

        Raises:
            StoreError: The home cannot be written.
        """
        mark = self._folder / asked.digest
        with files.storing(mark, StoreError, hint="Make that folder writable."):
            paths.make(self._folder, self._folder.parent)
            lines = [f"{request.place}: {request.what}\n" for request in asked.requests]
            files.replace(mark, "".join(lines).encode(), mode=0o600)

    def forget(self, digests: Iterable[str]) -> None:
        """Take it back: the next command asks again.

        Raises:
            StoreError: The home cannot be written.
        """
        for digest in digests:
            mark = self._folder / digest
            with files.storing(mark, StoreError, hint="Make that folder writable."):
                mark.unlink(missing_ok=True)

    def remember(self, asked: Asked) -> None:
        """Like ``allow`` where it only saves asking again: a home that cannot be written is no error."""
        with suppress(StoreError):
            self.allow(asked)


def refusal(asked: Asked) -> TrustError:
    """Return the error that names all that is asked for."""
    place = asked.requests[0].place
    lines = [f"{place} asks for what only you can allow. It", *(f"  {request.what}" for request in asked.requests)]
    return TrustError(
        "\n".join(lines),
        where=place,
        hint="Read it, then `concierge trust` allows exactly this; --trust or CONCIERGE_TRUST=true does in a script.",
    )


def of_settings(found: Mapping[KeyPath, Setting], folder: Path) -> Asked:
    """Return what the project's ``concierge.toml`` asks for, of the settings that hold."""
    requests: list[Request] = []
    named: list[str] = []
    for key, setting in sorted(found.items()):
        if setting.project and (what := _told(key, setting.value, folder)) is not None:
            requests.append(Request(what, setting.place))
            named += _words(setting.value)
    content = [str(folder.absolute()), [request.what for request in requests], _contents(named, folder)]
    return Asked(tuple(requests), _digest(content))


def _words(value: Any) -> list[str]:
    return [str(word) for word in value] if isinstance(value, tuple) else [str(value)]


def _assigned(pair: tuple[str, Secret]) -> str:
    """Return a variable and its value: a project's own file holds it, so it is no secret of whoever is asked."""
    return f"{pair[0]}={pair[1].get_secret_value()}"


def _told(key: KeyPath, value: Any, folder: Path) -> str | None:
    """Return what a project's setting would do, or None where it asks for nothing."""
    match key:
        case ("llm", name):
            return _told_of_llm(name, value, folder)
        case ("api", "host"):
            return None if endpoint.is_loopback(value) else f"serves the HTTP API to other machines, at {value}"
        case ("api", "token"):
            return "serves the HTTP API with a token that it knows"
        case ("run", "shell_network"):
            return "lets the model's commands reach the network" if value else None
        case ("workspace_root",):
            inside = (folder / value).resolve().is_relative_to(folder.resolve())
            return None if inside else f"writes runs to {value}"
        case ("mirror",):
            return f"fetches what is pinned from {value}" if "://" in value else None
        case ("mcp", "servers", name, part):
            return _told_of_server(name, part, value)
    return None


def _told_of_llm(name: str, value: Any, folder: Path) -> str | None:
    match name:
        case "local_llm_start_cmd":
            return f"runs the command {json.dumps(list(value), ensure_ascii=False)}"
        case "flake":
            return f"builds and runs engines of the flake {value}"
        case "model":
            from concierge.catalog import reference

            foreign = isinstance(reference.parse(value, folder=folder), reference.Hub | reference.Local)
            return f"runs the model {value}" if foreign else None
        case "base_url":
            address = endpoint.address(value)
            return None if address.loopback else f"sends what you ask to {address}"
    return None


def _told_of_server(name: str, part: str, value: Any) -> str | None:
    match part:
        case "command":
            return f"runs the command {json.dumps(list(value), ensure_ascii=False)} as the MCP server {name}"
        case "url":
            return f"lets a model call tools of {endpoint.address(value)}, as the MCP server {name}"
        case "env":
            return f"gives the MCP server {name} {', '.join(map(_assigned, value)) or 'no variables'}"
    return None


def _contents(named: Iterable[str], folder: Path) -> list[list[str]]:
    """Return the project's own files that the words name, and what is in them: a script is part of its command."""
    root = folder.resolve()
    found: list[list[str]] = []
    for word in dict.fromkeys(named):
        with suppress(OSError, ValueError):
            place = (root / word.partition("#")[0]).resolve()
            named_files = [file for file in (place, place / "flake.nix", place / "flake.lock") if file.is_file()]
            found += [[str(file), _content(file)] for file in named_files if file.is_relative_to(root)]
    return found


def _content(file: Path) -> str:
    seen = file.stat()
    if seen.st_size > LARGE:
        return f"{seen.st_size} {seen.st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def of_lock(lock: Lock, catalog: Catalog, *, place: str, digest: str) -> Asked:
    """Return the entries of a project's lock that this release's catalogue does not hold exactly so."""
    builds, models = set(catalog.builds), {model.name: model for model in catalog.models}
    unknown = [
        *(
            f"runs the engine {build.engine} {build.version} ({build.accelerator}, {build.system}): {sources}"
            for build in lock.build
            if build not in builds
            for sources in [_sources(build.artefact)]
        ),
        *(
            f"runs the model {model.name}: {_sources(model.artefact)}"
            for model in lock.model
            if model != models.get(model.name)
        ),
    ]
    return Asked(tuple(Request(what, place) for what in unknown), digest)


def _sources(artefacts: Sequence[Artefact]) -> str:
    # Every command asks this module, and most of them read no catalogue.
    from concierge.catalog.types import origin

    def each() -> Iterator[str]:
        for artefact in artefacts:
            origins = " or ".join(origin(source) for source in artefact.sources)
            yield f"{artefact.name} from {origins}, sha256 {artefact.sha256}"

    return "; ".join(each())


def lock_digest(data: bytes) -> str:
    """Return what stands for a lock's content, wherever it lies: everything that it names is pinned by hash."""
    return _digest([hashlib.sha256(data).hexdigest()])


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
