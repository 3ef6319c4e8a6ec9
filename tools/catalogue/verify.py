"""Check every pin against its publisher, and name newer ones: ``python -m tools.catalogue.verify``.

For maintainers with a network. Nothing is changed: a person reads the rows and edits the catalogue.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TextIO

import httpx

from concierge.catalog.loader import load
from concierge.catalog.types import Artefact, HttpsSource, PypiSource, Source
from tools.catalogue.publishers import GITHUB, HUGGING_FACE, Published, Publishers, WheelIndex
from tools.catalogue.wheels import PipIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from concierge.catalog.types import Catalog

Verdict = Literal["same", "different", "missing", "unreachable"]

LLAMA_CPP = "ggml-org/llama.cpp"
OLLAMA = "ollama/ollama"


@dataclass(frozen=True, slots=True)
class Row:
    """What the publisher says of one artefact from one source.

    Attributes:
        verdict: ``same`` bytes, ``different`` ones, ``missing`` from the publisher, or nobody ``unreachable`` to ask.
    """

    entry: str
    artefact: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A newer version of what an entry pins.

    Attributes:
        files: Name, size and sha256 of each file that the catalogue would take.
    """

    entry: str
    pinned: str
    newest: str
    files: tuple[tuple[str, int, str | None], ...]


def verify(catalog: Catalog, publishers: Publishers, index: WheelIndex | None = None) -> list[Row]:
    """Compare every artefact with what its publishers say; without ``index`` wheels are left out."""
    rows = []
    for entry, artefact in _artefacts(catalog):
        for piece, source in _delivered(artefact):
            if isinstance(source, PypiSource) and index is None:
                continue
            rows.append(_row(entry, piece, source, publishers, index))
    return rows


def propose(catalog: Catalog, publishers: Publishers) -> list[Proposal]:
    """Return what publishers offer that is newer, release by release and model by model.

    Raises:
        httpx.HTTPError: A publisher could not be reached.
    """
    proposals = [_newer_release(catalog, publishers, LLAMA_CPP, r"b\d+")]
    proposals.append(_newer_release(catalog, publishers, OLLAMA, r"v\d+\.\d+\.\d+"))
    proposals += [_newer_model(name, source, artefact, publishers) for name, artefact, source in _models(catalog)]
    return [proposal for proposal in proposals if proposal is not None]


def _artefacts(catalog: Catalog) -> Iterator[tuple[str, Artefact]]:
    seen: set[str] = set()
    for build in catalog.builds:
        for artefact in build.artefact:
            # One archive may serve several accelerators.
            if artefact.sha256 not in seen:
                seen.add(artefact.sha256)
                yield f"{build.engine} {build.version}", artefact
    for model in catalog.models:
        for artefact in model.artefact:
            yield model.name, artefact


def _delivered(artefact: Artefact) -> Iterator[tuple[Artefact, Source]]:
    """Yield what each source delivers: the artefact, or each of the parts that it is joined from."""
    for source in artefact.sources:
        if source.kind != "parts":
            yield artefact, source
            continue
        for part in source.parts:
            facts = {"name": part.wheel, "size": part.size, "sha256": part.sha256}
            yield artefact.model_copy(update=facts), part.wheel_source


def _models(catalog: Catalog) -> Iterator[tuple[str, Artefact, HttpsSource]]:
    for model in catalog.models:
        for artefact in model.artefact:
            for source in artefact.sources:
                if isinstance(source, HttpsSource) and HUGGING_FACE.fullmatch(source.url):
                    yield model.name, artefact, source


def _row(entry: str, artefact: Artefact, source: Source, publishers: Publishers, index: WheelIndex | None) -> Row:
    try:
        published = _published(artefact, source, publishers, index)
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        return Row(entry, artefact.name, "unreachable", f"{type(error).__name__}: {error}")
    if published is None:
        return Row(entry, artefact.name, "missing", "the publisher does not list it")
    size, sha256 = _pinned(artefact, source)
    if published.size != size:
        return Row(entry, artefact.name, "different", f"{published.size} bytes instead of {size}")
    if published.sha256 is None:
        return Row(entry, artefact.name, "unreachable", "same size, but the publisher names no sha256")
    if published.sha256 != sha256:
        return Row(entry, artefact.name, "different", f"sha256 {published.sha256}")
    return Row(entry, artefact.name, "same", "size and sha256")


def _pinned(artefact: Artefact, source: Source) -> tuple[int, str]:
    """What the source must deliver: a wheel that only holds the artefact has a size and a hash of its own."""
    if isinstance(source, PypiSource) and source.wheel_size and source.wheel_sha256:
        return source.wheel_size, source.wheel_sha256
    return artefact.size, artefact.sha256


def _published(
    artefact: Artefact, source: Source, publishers: Publishers, index: WheelIndex | None
) -> Published | None:
    if isinstance(source, PypiSource) and index is not None:
        return index.published(source.package, source.version, source.wheel or artefact.name)
    url = source.url if isinstance(source, HttpsSource) else ""
    if found := GITHUB.fullmatch(url):
        return (publishers.release(found["repo"], found["tag"]) or {}).get(found["file"])
    if found := HUGGING_FACE.fullmatch(url):
        return publishers.model_file(found["repo"], found["revision"], found["file"])
    message = f"no publisher is known for {url or source.kind}"
    raise ValueError(message)


def _newer_release(catalog: Catalog, publishers: Publishers, repo: str, tags: str) -> Proposal | None:
    pinned = [
        found
        for _, artefact in _artefacts(catalog)
        for source in artefact.sources
        if isinstance(source, HttpsSource) and (found := GITHUB.fullmatch(source.url)) and found["repo"] == repo
    ]
    newest_pinned = max((found["tag"] for found in pinned), key=_number, default=None)
    if newest_pinned is None:
        return None
    for tag, assets in publishers.releases(repo):
        if not re.fullmatch(tags, tag):
            continue
        if _number(tag) <= _number(newest_pinned):
            return None
        # Assets are uploaded one by one: a release that still lacks one of ours is not taken.
        wanted = sorted({found["file"].replace(found["tag"], tag) for found in pinned})
        if all(name in assets for name in wanted):
            files = tuple((name, assets[name].size, assets[name].sha256) for name in wanted)
            return Proposal(repo, newest_pinned, tag, files)
    return None


def _newer_model(name: str, source: HttpsSource, artefact: Artefact, publishers: Publishers) -> Proposal | None:
    found = HUGGING_FACE.fullmatch(source.url)
    head = publishers.model_head(found["repo"]) if found else None
    if found is None or head is None or head == found["revision"]:
        return None
    now = publishers.model_file(found["repo"], head, found["file"])
    # A newer commit that leaves the file alone is nothing new.
    if now is None or now.sha256 == artefact.sha256:
        return None
    return Proposal(name, found["revision"], head, ((found["file"], now.size, now.sha256),))


def _number(tag: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", tag))


def report(catalog: Catalog, publishers: Publishers, index: WheelIndex | None, *, out: TextIO, err: TextIO) -> int:
    """Write one JSON object per row and per proposal; return 1 when a pin is not what its publisher says."""
    rows = verify(catalog, publishers, index)
    try:
        proposals = propose(catalog, publishers)
    except httpx.HTTPError as error:
        err.write(f"No proposals: {error}\n")
        proposals = []
    lines: list[Row | Proposal] = [*rows, *proposals]
    out.writelines(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines)
    return int(any(row.verdict in ("different", "missing") for row in rows))


def main(arguments: Sequence[str]) -> int:
    """Ask the real publishers about the shipped catalogue."""
    index = None if "--no-wheels" in arguments else PipIndex()
    with httpx.Client(timeout=30.0) as client:
        return report(load(), Publishers(client), index, out=sys.stdout, err=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
