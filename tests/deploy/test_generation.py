from __future__ import annotations

import errno
import json
import multiprocessing
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from concierge import mutex
from concierge.config.keys import Llm
from concierge.deploy.generation import LOCK, Generation, Generations
from concierge.deploy.question import ASKED, asked_digest, question
from concierge.deploy.spec import ServerSpec
from concierge.errors import StoreError
from concierge.paths import Home
from concierge.store import manifest

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier
    from pathlib import Path


PROCESSES, ROUNDS = 6, 10


def switch_many(home: Home, index: int, gate: Barrier) -> None:
    """Switch to one new generation after the other, together with other processes."""
    for round_ in range(ROUNDS):
        gate.wait(30)
        Generations(home).switch(made(home, f"{index}-{round_}"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def generations(home: Home) -> Generations:
    return Generations(home)


def made(home: Home, asked: str = "a", **facts: Any) -> Generation:
    """A generation whose bytes are in the store."""
    model, engine = home.store / "model" / "m.gguf", home.store / "engine"
    if not model.exists():
        model.parent.mkdir(parents=True)
        model.write_bytes(b"GGUF")
        engine.mkdir()
        (engine / "engine").write_bytes(b"engine")
        for entry in (model.parent, engine):
            manifest.write(entry, manifest.seal(entry, {}))
            entry.chmod(manifest.CLOSED)
    spec = ServerSpec(
        build="llama-cpp b1 cpu (wheel)",
        engine="llama-cpp",
        launcher="xllamacpp",
        accelerator="cpu",
        engine_root=engine,
        engine_sha256="e" * 64,
        executable=None,
        model="tiny",
        model_path=model,
        model_sha256="f" * 64,
        context=512,
        parameters=(("batch", "2048"), ("gpu_layers", "0")),
    )
    return replace(Generation(0, asked, tools=True, reasons=("it fits", "it is fast"), spec=spec), **facts)


def files(home: Home) -> list[str]:
    return sorted(file.name for file in home.generations.iterdir() if file.name != LOCK)


def test_a_home_without_generations_has_none_and_gets_no_folder(home: Home, generations: Generations) -> None:
    assert generations.current() is None
    assert generations.find("a") is None
    assert not home.root.exists()


def test_what_is_switched_to_is_current_and_reads_back_as_it_was(home: Home, generations: Generations) -> None:
    wanted = made(home)
    switched = generations.switch(wanted)
    assert switched == replace(wanted, number=1)
    assert Generations(home).current() == switched
    assert Generations(home).find("a") == switched
    assert home.current.read_text() == "1\n"


def test_generations_are_numbered_one_after_the_other_beyond_nine(home: Home, generations: Generations) -> None:
    assert [generations.switch(made(home, f"asked {n}")).number for n in range(11)] == list(range(1, 12))
    current = generations.current()
    assert current is not None
    assert (current.number, current.asked) == (11, "asked 10")


def test_a_number_is_never_given_twice_while_a_later_one_is_there(home: Home, generations: Generations) -> None:
    for asked in "abc":
        generations.switch(made(home, asked))
    (home.generations / "1.json").unlink()
    assert generations.switch(made(home, "d")).number == 4


def test_the_newest_that_answers_is_found_and_the_others_stay(home: Home, generations: Generations) -> None:
    generations.switch(made(home, "a"))
    generations.switch(made(home, "b"))
    newer = generations.switch(made(home, "a", reasons=("another",)))
    generations.switch(made(home, "c"))
    assert newer.number == 3
    assert generations.find("a") == newer
    assert generations.find("none") is None
    assert files(home) == ["1.json", "2.json", "3.json", "4.json"]


def test_what_says_the_same_is_not_written_twice_but_becomes_current_again(
    home: Home, generations: Generations
) -> None:
    first = generations.switch(made(home, "a"))
    written = (home.generations / "1.json").stat().st_mtime_ns
    generations.switch(made(home, "b"))
    assert generations.switch(made(home, "a")) == first
    assert generations.switch(first) == first
    assert generations.current() == first
    assert files(home) == ["1.json", "2.json"]
    assert (home.generations / "1.json").stat().st_mtime_ns == written


def test_a_pointer_that_is_right_already_is_left_alone(home: Home, generations: Generations) -> None:
    generations.switch(made(home))
    before = home.current.stat()
    generations.switch(made(home))
    after = home.current.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_pointer_is_replaced_and_never_written_into(home: Home, generations: Generations) -> None:
    generations.switch(made(home, "a"))
    # Whoever opened it before the switch still reads the whole of what it was.
    with home.current.open(encoding="ascii") as before:
        generations.switch(made(home, "b"))
        assert before.read() == "1\n"
    assert home.current.read_text() == "2\n"
    assert [entry.name for entry in home.root.iterdir() if entry.name.endswith(".draft")] == []


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"null",
        pytest.param(b"[" * 100_000, id="deep"),
        lambda document: {**document, "schema": 2},
        lambda document: {name: value for name, value in document.items() if name != "schema"},
        lambda document: {name: value for name, value in document.items() if name != "spec"},
        lambda document: {name: value for name, value in document.items() if name != "reasons"},
        lambda document: {**document, "more": 1},
        lambda document: {**document, "spec": {**document["spec"], "more": 1}},
        lambda document: {**document, "spec": {**document["spec"], "parameters": [["one"]]}},
        lambda document: {**document, "spec": {**document["spec"], "engine_root": None}},
        lambda document: {**document, "spec": None},
    ],
)
def test_what_cannot_be_read_counts_as_absent_and_is_made_again(
    home: Home, generations: Generations, damage: Any
) -> None:
    generations.switch(made(home))
    file = home.generations / "1.json"
    document = json.loads(file.read_bytes())
    file.write_bytes(damage if isinstance(damage, bytes) else json.dumps(damage(document)).encode())
    assert generations.current() is None
    assert generations.find("a") is None
    assert generations.switch(made(home)).number == 2


@pytest.mark.parametrize("pointer", [b"", b"one\n", b"7\n", b"\xff", b"../1\n"])
def test_a_pointer_to_nothing_is_no_generation(home: Home, generations: Generations, pointer: bytes) -> None:
    generations.switch(made(home))
    home.current.write_bytes(pointer)
    assert generations.current() is None
    assert generations.switch(made(home)).number == 1
    assert home.current.read_bytes() == b"1\n"


@pytest.mark.parametrize("gone", ["engine", "model/m.gguf"])
def test_a_generation_whose_bytes_are_gone_counts_as_absent(home: Home, generations: Generations, gone: str) -> None:
    older = generations.switch(made(home, reasons=("the first",)))
    generations.switch(made(home, "other"))
    assert generations.find("a") == older
    path = home.store / gone
    path.rename(path.with_name("gone"))
    assert generations.current() is None
    assert generations.find("a") is None
    path.with_name("gone").rename(path)
    assert generations.find("a") == older


def test_an_older_one_answers_where_a_newer_one_cannot_be_read(home: Home, generations: Generations) -> None:
    older = generations.switch(made(home, reasons=("the first",)))
    newer = generations.switch(made(home, reasons=("the second",)))
    (home.generations / f"{newer.number}.json").write_bytes(b"{")
    assert generations.find("a") == older


def test_other_files_in_the_folder_are_no_generations(home: Home, generations: Generations) -> None:
    generations.switch(made(home))
    for name in ("9.json.new", "x.json", "-8.json", "10.txt", ".7.json.0123abcd.draft"):
        (home.generations / name).write_bytes((home.generations / "1.json").read_bytes())
    assert generations.switch(made(home, "b")).number == 2


def test_a_home_that_is_moved_keeps_its_generations(home: Home, generations: Generations, tmp_path: Path) -> None:
    generations.switch(made(home))
    home.root.rename(tmp_path / "moved")
    moved = Generations(Home(tmp_path / "moved")).current()
    assert moved is not None
    assert moved.spec.model_path == tmp_path / "moved" / "store" / "model" / "m.gguf"


def test_a_folder_that_takes_no_file_is_a_sentence(home: Home, generations: Generations) -> None:
    wanted = made(home)
    home.generations.write_bytes(b"in the way")
    with pytest.raises(StoreError, match=rf"Cannot write to .*generations.*{os.strerror(errno.EEXIST)}") as caught:
        generations.switch(wanted)
    assert caught.value.hint
    assert not home.current.exists()


def asked(llm: Llm, pins: bytes = b"", *, folder: Path | None = None) -> str:
    return asked_digest(question(llm, {"lock": pins}, folder=folder))


def test_a_model_file_is_asked_for_with_its_path_its_size_and_its_time(tmp_path: Path) -> None:
    file, llm = tmp_path / "m.gguf", Llm(model="./m.gguf")
    digests = [asked(llm, folder=tmp_path)]
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    digests.append(asked(llm, folder=tmp_path))
    os.utime(file, ns=(1, 2))
    digests.append(asked(llm, folder=tmp_path))
    file.write_bytes(b"three")
    os.utime(file, ns=(1, 2))
    digests.append(asked(llm, folder=tmp_path))
    digests.append(asked(llm, folder=tmp_path / "elsewhere"))
    assert len(set(digests)) == len(digests)
    assert asked(llm, folder=tmp_path) == digests[-2]


def test_the_folder_means_nothing_for_a_model_of_the_catalogue(tmp_path: Path) -> None:
    llm = Llm(model="smollm2-135m")
    assert asked(llm, b"pins", folder=tmp_path) == asked(llm, b"pins")
    assert asked(llm, b"pins") != asked(llm, b"other pins")


def test_what_decides_what_is_deployed_changes_the_digest_and_nothing_else_does() -> None:
    others = {"engine": "llama-cpp", "model": "tiny", "context": 512, "accelerator": "cpu"}
    assert set(others) == set(ASKED)
    digests = {asked(replace(Llm(), **{key: value})) for key, value in others.items()}  # type: ignore[arg-type]
    assert len(digests | {asked(Llm())}) == 5
    assert asked(Llm(temperature=1.0, read_timeout_s=1.0)) == asked(Llm())


def test_many_at_once_lose_no_generation_and_share_no_number(home: Home) -> None:
    made(home)
    together = multiprocessing.get_context("spawn")
    gate = together.Barrier(PROCESSES)
    switching = [together.Process(target=switch_many, args=(home, index, gate)) for index in range(PROCESSES)]
    for process in switching:
        process.start()
    for process in switching:
        process.join(60)
    assert [process.exitcode for process in switching] == [0] * PROCESSES
    found = {json.loads(file.read_text())["asked"] for file in home.generations.glob("*.json")}
    assert found == {f"{index}-{round_}" for index in range(PROCESSES) for round_ in range(ROUNDS)}
    assert files(home) == sorted(f"{number + 1}.json" for number in range(PROCESSES * ROUNDS))
    assert Generations(home).current() is not None


def test_a_lock_that_is_never_given_back_is_an_error_that_names_it(home: Home) -> None:
    home.generations.mkdir(parents=True)
    with mutex.held_file(home.generations / LOCK), pytest.raises(StoreError, match="Another command holds"):
        Generations(home, wait_s=0.05).switch(made(home))
