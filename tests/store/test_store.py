from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from concierge import mutex
from concierge.catalog.types import Artefact, PathSource, digest
from concierge.errors import StoreError
from concierge.files import remove
from concierge.store import leftovers, manifest
from concierge.store.leftovers import LOCK, PART, PART_DAYS, STAGING
from concierge.store.store import Store, need_space
from concierge.units import human

STAGES = """
import sys, time
from pathlib import Path
from concierge.store.store import Store
with Store(Path(sys.argv[1])).staging() as staging:
    print(staging, flush=True)
    time.sleep(60)
"""


def artefact(data: bytes, name: str = "thing", archive: Literal["zip"] | None = "zip") -> Artefact:
    return Artefact(
        name=name,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        trust="seen",
        archive=archive,
        sources=(PathSource(path="/nowhere"),),
    )


def put_bare(store: Store, one: Artefact) -> Path:
    with store.staging() as staging:
        (staging / "tree").mkdir()
        (staging / "tree" / one.name).write_bytes(b"bytes")
        return store.place(staging / "tree", [one])


def put(store: Store, data: bytes) -> Path:
    one = artefact(data)
    with store.staging() as staging:
        tree = staging / "tree"
        (tree / "folder").mkdir(parents=True)
        (tree / "folder" / "thing").write_bytes(data)
        return store.place(tree, [one])


@pytest.mark.promise("S13")
def test_an_entry_is_named_by_its_hash_and_its_files_are_read_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    entry = put(store, b"bytes")
    assert entry.name == f"{hashlib.sha256(b'bytes').hexdigest()[:32]}-thing"
    assert store.has([artefact(b"bytes")])
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (entry, entry / "folder", entry / "folder" / "thing")}
    assert modes == {0o555, 0o755, 0o444}


def test_an_entry_without_its_file_is_absent_and_is_brought_again(tmp_path: Path) -> None:
    store, bare = Store(tmp_path), artefact(b"bytes", "m.gguf", archive=None)
    entry = put_bare(store, bare)
    assert store.has([bare])
    entry.chmod(0o755)
    (entry / "m.gguf").unlink()
    assert not store.has([bare])
    assert put_bare(store, bare) == entry
    assert store.has([bare])
    assert [file.read_bytes() for file in entry.iterdir()] == [b"bytes"]


def test_what_is_brought_in_the_place_of_damage_is_known_as_other_bytes(tmp_path: Path) -> None:
    store, bare = Store(tmp_path), artefact(b"bytes", "m.gguf", archive=None)
    entry = put_bare(store, bare)
    assert manifest.read(entry) == manifest.Manifest((manifest.Item("m.gguf", "file", 5, bare.sha256),))
    (entry / "m.gguf").unlink()
    put_bare(store, bare)
    known = manifest.read(entry)
    assert known is not None
    assert (known.again, store.has([bare])) == (1, True)


@pytest.mark.skipif(sys.platform == "win32", reason="uses modes and links")
def test_what_a_link_in_the_store_aims_at_stays_as_it_is(tmp_path: Path) -> None:
    here, elsewhere = Store(tmp_path / "here"), Store(tmp_path / "elsewhere")
    bare = artefact(b"bytes", "m.gguf", archive=None)
    theirs = put_bare(elsewhere, bare)
    link = here.path([bare])
    link.parent.mkdir()
    link.symlink_to(theirs)
    assert put_bare(here, bare) == link
    assert (link.is_symlink(), here.has([bare]), elsewhere.has([bare])) == (False, True, True)


def test_a_bare_file_whose_manifest_is_lost_is_kept_if_it_is_what_is_pinned(tmp_path: Path) -> None:
    store, bare = Store(tmp_path), artefact(b"bytes", "m.gguf", archive=None)
    entry = put_bare(store, bare)
    manifest.file_of(entry).unlink()
    assert not store.has([bare])
    assert store.mend([bare])
    assert store.has([bare])
    manifest.file_of(entry).unlink()
    (entry / "m.gguf").chmod(0o644)
    (entry / "m.gguf").write_bytes(b"other")
    assert not store.mend([bare])
    assert not store.mend([artefact(b"nothing is there")])


def test_the_lock_of_a_turn_that_was_killed_goes_with_the_next_command(tmp_path: Path) -> None:
    left = tmp_path / f".{'0' * 32}{LOCK}"
    left.touch()
    (tmp_path / f"{STAGING}1{LOCK}").touch()
    with mutex.held_file(tmp_path / f".{'1' * 32}{LOCK}") as held:
        assert held
        put(Store(tmp_path), b"bytes")
        assert [file.name for file in tmp_path.glob(".*")] == [f".{'1' * 32}{LOCK}"]


@pytest.mark.promise("L42")
def test_who_has_a_store_to_himself_waits_for_those_who_use_it(tmp_path: Path) -> None:
    assert leftovers.USE_S == 90
    store, said = tmp_path / "store", list[str]()
    with leftovers.used(store), leftovers.used(store):
        with pytest.raises(StoreError, match="Another command uses"), leftovers.alone(store, said.append, wait_s=0.3):
            pass
        assert len(said) == 1
    with leftovers.alone(store, said.append, wait_s=0.3):
        assert mutex.is_held(store / LOCK)
    assert not mutex.is_held(store / LOCK)


def test_asking_a_store_that_does_not_exist_creates_nothing(tmp_path: Path) -> None:
    assert not Store(tmp_path / "store").has([artefact(b"bytes")])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_staging_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Store(tmp_path).staging() as staging:
            (staging / "half").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_placing_what_another_process_placed_first_keeps_one_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert put(store, b"same") == put(store, b"same")
    assert len([entry for entry in tmp_path.iterdir() if entry.is_dir()]) == 1


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STAGES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed, Store(tmp_path).staging() as mine:
        assert killed.stdout is not None
        left = Path(killed.stdout.readline().decode().strip())
        put(Store(tmp_path), b"while it lives")
        assert left.exists()
        killed.kill()
        killed.wait(timeout=5)
        put(Store(tmp_path), b"bytes")
        assert not left.exists()
        assert mine.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_part_that_nobody_goes_on_with_is_swept_after_a_month(tmp_path: Path) -> None:
    old, young = tmp_path / f"{PART}old", tmp_path / f"{PART}young"
    for part in (old, young):
        part.mkdir()
        (part / "model.gguf").write_bytes(b"some")
    then = time.time() - (PART_DAYS + 1) * 24 * 3600
    for place in (old / "model.gguf", old):
        os.utime(place, (then, then))
    put(Store(tmp_path), b"bytes")
    assert (old.exists(), young.exists()) == (False, True)


def test_several_artefacts_have_a_digest_of_their_own_that_knows_their_order() -> None:
    one, two = artefact(b"one"), artefact(b"two")
    assert digest([one]) == one.sha256
    assert len({digest([one]), digest([one, two]), digest([two, one])}) == 3


def test_a_store_below_a_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="Cannot write to") as caught, Store(tmp_path / "file" / "store").staging():
        pass
    assert "CONCIERGE_HOME" in (caught.value.hint or "")


def test_too_little_space_is_found_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"needs 1000000000\.0 GB"):
        need_space(tmp_path / "not" / "yet", 10**18, "a model")


def test_remove_takes_sealed_trees_and_forgives_absence(tmp_path: Path) -> None:
    entry = put(Store(tmp_path), b"bytes")
    remove(entry)
    remove(entry)
    assert [left.suffix for left in tmp_path.iterdir()] == [".json"]


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (98_362_432, "98.4 MB"), (10**10, "10.0 GB")])
def test_sizes_are_told_in_decimal_units(size: int, text: str) -> None:
    assert human(size) == text
