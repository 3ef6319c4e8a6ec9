"""Describe a model that is not in the catalogue: its size, its hash and what its header says."""

from __future__ import annotations

import hashlib
import math
import re
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concierge import net
from concierge.catalog.reference import Hub, Local
from concierge.catalog.types import Artefact, Chat, HttpsSource, Model, PathSource
from concierge.errors import ArtefactError, ConfigError
from concierge.gguf.facts import facts_of
from concierge.gguf.header import Header, read_header
from concierge.gguf.readers import FileReader
from concierge.lock.hub import HttpHub
from concierge.units import GIB, human

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import stat_result
    from pathlib import Path

    from concierge.catalog.types import Thinking

    Describe = Callable[[Hub | Local], Model]
    """Turns a reference into a model that can be locked, with its sources, sizes and hashes."""

_QUANT = re.compile(r"(?:^|[-._])((?:UD-)?I?Q\d\w*|BF16|F16|F32|MXFP4\w*)(?:[-.]|$)", re.IGNORECASE)

LARGE = GIB
"""Bytes from which on hashing takes long enough that it is said."""


@dataclass(frozen=True, slots=True)
class Describer:
    """Describes local files by reading them, and a repository's by asking it."""

    repository: HttpHub
    say: Callable[[str], None] = lambda _: None

    def __call__(self, wanted: Hub | Local) -> Model:
        return self._hub(wanted) if isinstance(wanted, Hub) else _local(wanted, self.say)

    def _hub(self, wanted: Hub) -> Model:
        found = [self.repository.look_up(wanted, file) for file in wanted.files]
        artefacts = [
            Artefact(
                name=file.rsplit("/", 1)[-1],
                size=each.size,
                sha256=each.sha256,
                trust="publisher",
                sources=(HttpsSource(url=each.url),),
            )
            for file, each in zip(wanted.files, found, strict=True)
        ]
        header = _joined([read_header(each.reader, name=each.url) for each in found])
        model = _model(wanted.name, wanted.file, header, artefacts)
        first = found[0]
        return model.model_copy(
            update={
                "licence": first.licence or model.licence,
                "gated": first.gated,
                "repo": wanted.repo,
                "revision": wanted.revision,
            }
        )


def describe(wanted: Hub | Local, environ: Mapping[str, str], say: Callable[[str], None]) -> Model:
    """Describe a model with a client of its own, for the hub and the token that ``environ`` names."""
    from concierge.net import web

    # A local file needs no hub, so a wrong address of one is no error for it.
    base = net.base(environ) if isinstance(wanted, Hub) else net.BASE
    with web.downloads(environ, follow_redirects=False) as client:
        return Describer(HttpHub(client, base=base), say)(wanted)


def _local(wanted: Local, say: Callable[[str], None]) -> Model:
    sizes = [_facts(path).st_size for path in wanted.files]
    # Before the hash: what is no model is not read to its end.
    header = _joined([read_header(FileReader(path), name=str(path)) for path in wanted.files])
    if sum(sizes) >= LARGE:
        say(f"Hashing {wanted.path} ({human(sum(sizes))}) to pin it.")
    artefacts = [
        Artefact(
            name=path.name,
            size=size,
            sha256=_sha256(path),
            trust="seen",
            sources=(PathSource(path=str(path.absolute())),),
        )
        for path, size in zip(wanted.files, sizes, strict=True)
    ]
    return _model(wanted.name, str(wanted.path), header, artefacts)


def _facts(path: Path) -> stat_result:
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise ConfigError(f"There is no model file at {path}.", where="llm.model", hint="Correct the path.") from None
    except OSError as error:
        raise ConfigError(f"The model file {path} cannot be read: {error.strerror}.", where="llm.model") from None
    if not stat.S_ISREG(facts.st_mode):
        raise ConfigError(f"{path} is not a file.", where="llm.model", hint="Name the GGUF file itself.")
    return facts


def _sha256(path: Path) -> str:
    before = _facts(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    after = _facts(path)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ArtefactError(f"{path} changed while it was read.", where=str(path), hint="Wait until it is complete.")
    return digest.hexdigest()


def _joined(headers: Sequence[Header]) -> Header:
    """Return the first shard's header with the tensors of all."""
    return replace(headers[0], tensors=tuple(tensor for header in headers for tensor in header.tensors))


def _model(name: str, file: str, header: Header, artefacts: Sequence[Artefact]) -> Model:
    facts = facts_of(header, name=file)
    said = header.metadata
    trained = said.get(f"{facts.architecture}.context_length")
    if not isinstance(trained, int) or trained < 1:
        raise ConfigError(f"{file} does not say for how many tokens the model was trained.", where="llm.model")
    quant = _QUANT.search(file.rsplit("/", 1)[-1])
    return Model(
        name=name,
        title=_text(said.get("general.name")) or name,
        family=facts.architecture,
        params=max(sum(math.prod(tensor.shape) for tensor in header.tensors), 1),
        quant=quant[1].upper() if quant else "unknown",
        # It is only ever taken by name, so nothing is ranked below it.
        rank=1,
        licence=_text(said.get("general.license")) or "unknown",
        repo="local",
        context_train=trained,
        chat=_chat(_text(said.get("tokenizer.chat_template"))),
        gguf=facts,
        artefact=tuple(artefacts),
    )


def _chat(template: str) -> Chat:
    thinking: Thinking = "optional" if "enable_thinking" in template else "never"
    return Chat(template="own" if template else "none", tools="tools" in template, thinking=thinking)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
