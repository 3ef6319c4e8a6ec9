"""What a lock pins, in a folder by its hash: written once, asked first, and never believed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from concierge.catalog.types import Artefact, NixSource, PathSource
from concierge.errors import FetchError, StoreError
from concierge.store import bundle
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources import local
from concierge.store.store import Store


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.target = folder, folder / "bundle"
        self.said: list[str] = []

    def artefact(self, name: str) -> Artefact:
        data = name.encode()
        (self.folder / name).write_bytes(data)
        source = PathSource(path=str(self.folder / name))
        known = {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "trust": "seen"}
        return Artefact.model_validate({**known, "sources": [source]})

    def fetcher(self, home: str = "store", mirror: Path | None = None) -> Fetcher:
        def first(artefact: Artefact) -> tuple[PathSource, ...]:
            return bundle.sources(str(mirror), self.folder, {}, artefact) if mirror else ()  # type: ignore[return-value]

        store = Store(self.folder / home)
        return Fetcher(store, {"path": local.copy}, Silent(), self.said.append, first=first)

    def held(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in (self.target / "sha256").iterdir()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_file_lies_under_its_hash_and_is_brought_once(bench: Bench) -> None:
    one, two = bench.artefact("one"), bench.artefact("two")
    made = bundle.write([[one], [two, one]], bench.target, bench.fetcher())
    assert made == bundle.Bundled(files=2, brought=2, bytes=6, left_out=())
    assert bench.held() == {one.sha256: b"one", two.sha256: b"two"}
    again = bundle.write([[one], [two, one]], bench.target, bench.fetcher())
    assert again == bundle.Bundled(files=2, brought=0, bytes=0, left_out=())


def test_what_the_store_holds_is_not_brought_again(bench: Bench) -> None:
    one = bench.artefact("one")
    fetcher = bench.fetcher()
    fetcher.fetch([one])
    (bench.folder / "one").unlink()
    assert bundle.write([[one]], bench.target, fetcher).brought == 1
    assert bench.held() == {one.sha256: b"one"}


def test_a_file_that_was_changed_is_brought_again(bench: Bench) -> None:
    one = bench.artefact("one")
    bundle.write([[one]], bench.target, bench.fetcher())
    (bench.target / "sha256" / one.sha256).write_bytes(b"eno")
    assert bundle.write([[one]], bench.target, bench.fetcher()).brought == 1
    assert bench.held() == {one.sha256: b"one"}


def test_what_cannot_be_had_keeps_nothing_else_out_and_is_the_error(bench: Bench) -> None:
    lost, one = bench.artefact("lost"), bench.artefact("one")
    (bench.folder / "lost").unlink()
    with pytest.raises(FetchError, match=r"1 of 2 files could not be had; the first: Cannot read .*lost"):
        bundle.write([[lost], [one]], bench.target, bench.fetcher())
    assert bench.held() == {one.sha256: b"one"}


def test_what_only_nix_can_bring_is_named(bench: Bench) -> None:
    engine = bench.artefact("engine").model_copy(update={"sources": (NixSource(attribute="engines.cpu"),)})
    assert bundle.write([[engine]], bench.target, bench.fetcher()).left_out == ("engine",)


def test_a_folder_that_cannot_be_written_is_a_sentence(bench: Bench) -> None:
    bench.target.write_text("a file")
    with pytest.raises(StoreError, match="Cannot write to"):
        bundle.write([[bench.artefact("one")]], bench.target, bench.fetcher())


def test_a_mirror_is_asked_first_and_its_bytes_are_checked(bench: Bench) -> None:
    one = bench.artefact("one")
    bundle.write([[one]], bench.target, bench.fetcher())
    (bench.folder / "one").unlink()
    entry = bench.fetcher("other", bench.target).fetch([one])
    assert (entry / "one").read_bytes() == b"one"
    (bench.folder / "one").write_bytes(b"one")
    (bench.target / "sha256" / one.sha256).write_bytes(b"bad")
    entry = bench.fetcher("third", bench.target).fetch([one])
    assert (entry / "one").read_bytes() == b"one"


@pytest.mark.parametrize(
    ("mirror", "place"),
    [
        ("http://mirror:8000/", "http://mirror:8000/sha256/"),
        ("https://mirror/pins", "https://mirror/pins/sha256/"),
        ("/srv/pins", "/srv/pins/sha256/"),
        ("pins", "/project/pins/sha256/"),
    ],
)
def test_a_mirror_is_an_address_or_a_folder(bench: Bench, mirror: str, place: str) -> None:
    one = bench.artefact("one")
    (source,) = bundle.sources(mirror, Path("/project"), {}, one)
    assert (source.url if source.kind == "https" else source.path) == place + one.sha256  # type: ignore[union-attr]
