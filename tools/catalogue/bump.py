"""Write newer releases into the catalogue: ``python -m tools.catalogue.bump``.

For maintainers with a network. Only the lines that a new version changes are touched: layout and comments stay as they
are, and comments that name the old version are listed for a person to read again.
"""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import httpx

from concierge.catalog.loader import load
from tools.catalogue.publishers import GITHUB, HUGGING_FACE, Published, Publishers
from tools.catalogue.verify import LLAMA_CPP, propose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from concierge.catalog.types import Catalog
    from tools.catalogue.verify import Proposal

    Moved = Callable[[str], tuple[str, Published | None] | None]

SHIPPED = Path(__file__).parents[2] / "src" / "concierge" / "catalog"
ENGINES, MODELS = "engines.toml", "models.toml"

_ENTRY = re.compile(r"^\[\[(?:build|model)\]\]$", re.MULTILINE)
_ARTEFACT = re.compile(r"^ *\[\[(?:build|model)\.artefact\]\]$", re.MULTILINE)
_URL = re.compile(r'url = "([^"]+)"')
_KIND = re.compile(r"\bkind = ")


class Unwritable(Exception):  # noqa: N818  # it is a reason, not a fault
    """A proposal that cannot be written as it is; the message says why."""


def bump(folder: Path, publishers: Publishers, *, out: TextIO, err: TextIO) -> int:
    """Write what the publishers offer that is newer into the catalogue at ``folder``.

    Returns:
        1 when a proposal could not be written, else 0.

    Raises:
        httpx.HTTPError: A publisher could not be reached; nothing was written.
    """
    catalog = load(folder)
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in (ENGINES, MODELS)}
    worst = 0
    for proposal in _one_per_entry(propose(catalog, publishers)):
        name = ENGINES if "/" in proposal.entry else MODELS
        write = _release if name == ENGINES else _model
        try:
            changed = write(texts[name], proposal, publishers)
            _check({**texts, name: changed})
        except (Unwritable, ValueError) as error:
            err.write(f"{proposal.entry} {proposal.newest} is not written: {error}\n")
            worst = 1
            continue
        texts[name] = changed
        out.write(f"~ {proposal.entry}: {proposal.pinned} -> {proposal.newest}\n")
        old = {proposal.pinned.removeprefix("v"), *_versions(catalog, proposal.entry)}
        err.writelines(f"{name}:{line}: this comment names an old version\n" for line in _stale(changed, old))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return worst


def _one_per_entry(proposals: list[Proposal]) -> list[Proposal]:
    """A model of several shards is proposed once for each that changed, and written as a whole."""
    return list({proposal.entry: proposal for proposal in proposals}.values())


def _release(text: str, proposal: Proposal, publishers: Publishers) -> str:
    """Return the engines' text with every build of the release's repository at the newer tag."""
    files = {name: Published(size, sha256) for name, size, sha256 in proposal.files}
    # `proven` is about bytes that somebody started, so newer ones lose it.
    head: dict[str, str | None] = {"version": _quoted(proposal.newest.removeprefix("v")), "proven": None}
    commit = publishers.commit(proposal.entry, proposal.newest)
    head["commit"] = _quoted(commit) if commit else None
    # Ollama does not number the llama.cpp inside it; a newer release holds no older one, so the number still holds.
    if proposal.entry == LLAMA_CPP:
        head["llama_cpp"] = proposal.newest.removeprefix("b")

    def moved(url: str) -> tuple[str, Published | None] | None:
        found = GITHUB.fullmatch(url)
        if found is None or found["repo"] != proposal.entry:
            return None
        file = found["file"].replace(found["tag"], proposal.newest)
        return f"https://github.com/{proposal.entry}/releases/download/{proposal.newest}/{file}", files.get(file)

    return "".join(_entry(part, head, moved) for part in _split(_ENTRY, text))


def _model(text: str, proposal: Proposal, publishers: Publishers) -> str:
    """Return the models' text with all files of one model at the newer commit."""

    def moved(url: str) -> tuple[str, Published | None] | None:
        found = HUGGING_FACE.fullmatch(url)
        if found is None:
            return None
        file = publishers.model_file(found["repo"], proposal.newest, found["file"])
        return url.replace(found["revision"], proposal.newest), file

    parts = _split(_ENTRY, text)
    named = f'\nname = "{proposal.entry}"\n'
    head: dict[str, str | None] = {"revision": _quoted(proposal.newest)}
    return "".join(_entry(part, head, moved) if named in part else part for part in parts)


def _entry(text: str, head: dict[str, str | None], moved: Moved) -> str:
    """Return one entry with its artefacts moved, and with ``head`` in its first lines where its first one was."""
    first, *artefacts = _split(_ARTEFACT, text)
    if not _ENTRY.match(text) or not artefacts:
        return text
    written = [_artefact(artefact, moved) for artefact in artefacts]
    if written[0] != artefacts[0]:
        first = _with(first, head)
    return first + "".join(written)


def _artefact(text: str, moved: Moved) -> str:
    urls = _URL.findall(text)
    found = [there for url in urls if (there := moved(url)) is not None]
    if not found:
        return text
    (url, published), *others = found
    if others or len(_KIND.findall(text)) != 1:
        raise Unwritable(f"{urls[0]} is not the artefact's only source")
    if published is None or published.sha256 is None:
        raise Unwritable(f"the publisher names no sha256 of {url.rsplit('/', 1)[1]}")
    values: dict[str, str | None] = {
        "name": _quoted(url.rsplit("/", 1)[1]),
        "size": str(published.size),
        "sha256": _quoted(published.sha256),
        "trust": _quoted("publisher"),
    }
    return _with(text.replace(urls[0], url), values)


def _with(text: str, values: dict[str, str | None]) -> str:
    """Return ``text`` with the values of these keys replaced; a key of None loses its line."""
    for key, value in values.items():
        line = re.compile(rf"^( *{key} = )[^\n]*\n", re.MULTILINE)
        text = line.sub("" if value is None else rf"\g<1>{value}\n", text, count=1)
    return text


def _split(start: re.Pattern[str], text: str) -> list[str]:
    """Return ``text`` in parts that each begin where ``start`` matches, after the part before the first."""
    marks = [0, *(found.start() for found in start.finditer(text)), len(text)]
    return [text[mark:following] for mark, following in itertools.pairwise(marks) if mark < following]


def _quoted(value: str) -> str:
    return f'"{value}"'


def _check(texts: dict[str, str]) -> None:
    """Refuse a text that is not a catalogue, or whose models do not stand smallest first any more."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in texts.items():
            Path(scratch, name).write_text(text, encoding="utf-8")
        sizes = [model.size for model in load(Path(scratch)).models]
    if sizes != sorted(sizes):
        raise Unwritable("models stand smallest first, and its place would be another one: move the entry by hand")


def _versions(catalog: Catalog, repo: str) -> set[str]:
    """Return the versions of the builds that come from a repository: not all need be at one."""
    return {
        build.version
        for build in catalog.builds
        for source in build.artefact[0].sources
        if source.kind == "https" and f"/{repo}/" in source.url
    }


def _stale(text: str, old: set[str]) -> list[int]:
    comments = ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("#"))
    return [n for n, line in comments if any(version in line for version in old)]


def main(arguments: Sequence[str]) -> int:
    """Ask the real publishers and write the shipped catalogue, or the one in the folder that is named."""
    folder = Path(arguments[0]) if arguments else SHIPPED
    with httpx.Client(timeout=30.0) as client:
        try:
            return bump(folder, Publishers(client), out=sys.stdout, err=sys.stderr)
        except httpx.HTTPError as error:
            sys.stderr.write(f"The publishers could not be asked, so nothing was written: {error}\n")
            return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
