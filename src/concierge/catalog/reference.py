"""What ``llm.model`` may say, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from concierge.errors import ConfigError
from concierge.paths import expanded

if TYPE_CHECKING:
    from concierge.catalog.types import Model

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
_FORM = "Write it as hf:OWNER/REPO/FILE.gguf@COMMIT, with the commit's 40 hexadecimal digits."


@dataclass(frozen=True, slots=True)
class Auto:
    """Whatever suits the machine."""


@dataclass(frozen=True, slots=True)
class Named:
    """A model of the catalogue, or a name that only a configured server knows."""

    name: str


@dataclass(frozen=True, slots=True)
class Hub:
    """A file of one commit of a model repository; that commit can never hold other bytes."""

    repo: str
    file: str
    revision: str

    @property
    def files(self) -> tuple[str, ...]:
        """The file, or all its shards in order when it is one of several."""
        return shards(self.file)

    @property
    def name(self) -> str:
        return slug(self.file)


@dataclass(frozen=True, slots=True)
class Local:
    """A file of this machine."""

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or all its shards in order when it is one of several."""
        return tuple(self.path.with_name(name) for name in shards(self.path.name))

    @property
    def name(self) -> str:
        return slug(self.path.name)


Reference = Auto | Named | Hub | Local


def state(wanted: Reference) -> str:
    """Return what changes when the files of this machine do, without reading them; empty for anything else."""
    if not isinstance(wanted, Local):
        return ""
    return "\n".join(f"{path.absolute()} {_stamp(path)}" for path in wanted.files)


def _stamp(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        return "absent"
    return f"{facts.st_size} {facts.st_mtime_ns}"


def parse(text: str, *, folder: Path | None = None) -> Reference:
    """Return what ``text`` refers to, refusing what can move; a relative path starts at ``folder``."""
    if text == "auto":
        return Auto()
    if text.startswith("hf:"):
        return _hub(text)
    if _is_path(text):
        path = expanded(text, where="llm.model")
        return Local(path if folder is None else folder / path)
    return Named(text)


def means(reference: Named | Hub | Local, model: Model) -> bool:
    """Tell whether ``model`` is what was referred to, and not another one whose file has the same name."""
    if isinstance(reference, Hub):
        return (model.repo, model.revision) == (reference.repo, reference.revision)
    if isinstance(reference, Local):
        return any(source.kind == "path" for source in model.artefact[0].sources)
    return True


def slug(file: str) -> str:
    """Return the model name that stands for ``file`` in a lock and at the endpoint."""
    base = file.rsplit("/", 1)[-1]
    shard = _SHARD.match(base)
    stem = shard["stem"] if shard else base.removesuffix(".gguf")
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).lstrip("._-").rstrip("-") or "model"


def shards(file: str) -> tuple[str, ...]:
    """Return ``file``, or every file of its set in order when its name says that it is one of several."""
    match = _SHARD.match(file)
    if match is None:
        return (file,)
    count = int(match["count"])
    return tuple(f"{match['stem']}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _hub(text: str) -> Hub:
    body, at, revision = text.removeprefix("hf:").rpartition("@")
    parts = (body if at else revision).split("/")
    if len(parts) < 3 or not all(parts) or {".", ".."} & set(parts):
        raise ConfigError(f"`{text}` names no file of a model repository.", where="llm.model", hint=_FORM)
    repo, file = "/".join(parts[:2]), "/".join(parts[2:])
    if not at:
        raise ConfigError(
            f"`{text}` names no commit, so tomorrow it may be another model.", where="llm.model", hint=_FORM
        )
    if not _COMMIT.fullmatch(revision):
        raise ConfigError(
            f"`{revision}` in `{text}` can move: a branch or a tag may hold another model tomorrow.",
            where="llm.model",
            hint=f"{_FORM} The history of {repo} lists its commits.",
        )
    if not file.endswith(".gguf"):
        raise ConfigError(f"`{file}` in `{text}` is not a GGUF file.", where="llm.model", hint=_FORM)
    return Hub(repo, file, revision)


def _is_path(text: str) -> bool:
    """Tell a path from a name: names have no separators at the front, no drive and no ``.gguf``.

    A slash alone proves nothing: servers name their models ``org/model``.
    """
    return (
        text.startswith(("/", "./", "../", "~", ".\\", "..\\"))
        or text.endswith(".gguf")
        or bool(PureWindowsPath(text).drive)
    )
