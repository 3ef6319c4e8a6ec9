from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from concierge.deploy.gc import Needed, collect, garbage
from concierge.deploy.generation import Generations
from concierge.paths import Home
from concierge.store import manifest
from concierge.store.leftovers import PART
from tests.deploy.test_generation import made

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def entry(home: Home, letter: str, content: bytes = b"bytes") -> Path:
    made = home.store / f"{letter * 32}-file"
    made.mkdir(parents=True)
    (made / "file").write_bytes(content)
    manifest.write(made, manifest.seal(made, {}))
    made.chmod(manifest.CLOSED)
    return made


def applied(home: Home, letters: str) -> Generations:
    """Return generations each of which needs an entry of its own."""
    generations = Generations(home)
    for letter in letters:
        number = generations.switch(made(home, letter)).number
        file, needed = home.generations / f"{number}.json", entry(home, letter)
        known = json.loads(file.read_bytes())
        known["spec"] |= {"engine_root": needed.name, "model_path": f"{needed.name}/file", "model": letter}
        file.write_text(json.dumps(known))
    return generations


def names(found: list[object]) -> list[str]:
    return [f"{each.kind} {each.path.name[:4]}" for each in found]  # type: ignore[attr-defined]


def test_what_a_generation_needs_stays_and_what_none_needs_goes(home: Home) -> None:
    generations, left = applied(home, "ab"), entry(home, "c", b"1234567")
    found = garbage(generations, Needed())
    assert names([*found]) == ["entry cccc"]
    assert found[0].bytes == 7 + manifest.file_of(left).stat().st_size
    collect(found, home.store)
    assert sorted(path.name[:4] for path in home.store.glob("?" * 32 + "-*")) == ["aaaa", "aaaa", "bbbb", "bbbb"]
    assert garbage(generations, Needed()) == []


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (0, ["generation 1.js", "generation 2.js", "entry aaaa", "entry bbbb"]),
        (1, ["generation 1.js", "generation 2.js", "entry aaaa", "entry bbbb"]),
        (2, ["generation 1.js", "entry aaaa"]),
        (3, []),
        (9, []),
        (None, []),
    ],
)
def test_only_the_newest_are_kept_when_somebody_says_so_and_the_current_one_always(
    home: Home, keep: int | None, gone: list[str]
) -> None:
    assert names([*garbage(applied(home, "abc"), Needed(), keep=keep)]) == gone


def test_what_a_rollback_went_to_stays(home: Home) -> None:
    generations = applied(home, "abc")
    generations.back(1)
    assert names([*garbage(generations, Needed(), keep=0)]) == [
        "generation 2.js",
        "generation 3.js",
        "entry bbbb",
        "entry cccc",
    ]


def test_what_a_lock_names_stays(home: Home) -> None:
    generations, left = applied(home, "a"), entry(home, "b")
    part = home.store / f"{PART}{'d' * 64}"
    part.mkdir()
    assert garbage(generations, Needed(frozenset({left.name}), frozenset({"d" * 64}))) == []
    assert names([*garbage(generations, Needed())]) == ["entry bbbb", "part .par"]


def test_what_a_living_server_was_started_from_stays(home: Home) -> None:
    generations = applied(home, "ab")
    first = generations.read(1)
    assert first is not None
    assert garbage(generations, Needed(serving=frozenset({first.spec.digest})), keep=0) == []
    # Nobody knows what this one was started from.
    assert names([*garbage(generations, Needed(serving=frozenset({"x"})), keep=0)]) == ["generation 1.js"]


def test_a_damaged_generation_goes_and_one_of_another_release_stays_with_what_it_needs(home: Home) -> None:
    generations = applied(home, "abc")
    (home.generations / "1.json").write_text("{")
    file = home.generations / "2.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "schema": 2}))
    assert names([*garbage(generations, Needed())]) == ["generation 1.js", "entry aaaa"]


def test_links_to_engines_that_no_program_names_any_more_go(home: Home) -> None:
    generations = applied(home, "a")
    program = home.store / f"{'a' * 32}-file" / "file"
    program.chmod(0o644)
    program.write_text(f'exec "${{0%/*}}/../../nix/{"1" * 32}/bin/llama-server" "$@"\n')
    home.nix.mkdir()
    for letter in "12":
        (home.nix / (letter * 32)).symlink_to("/nowhere")
    found = garbage(generations, Needed())
    assert [each.path.name for each in found] == ["2" * 32]
    collect(found, home.store)
    assert [link.name for link in home.nix.iterdir()] == ["1" * 32]


def test_a_manifest_whose_entry_is_gone_goes_as_well(home: Home) -> None:
    generations = applied(home, "a")
    manifest.write(home.store / f"{'b' * 32}-file", manifest.Manifest((manifest.Item("file", "file"),)))
    found = garbage(generations, Needed())
    collect(found, home.store)
    assert [each.path.name[:4] for each in found] == ["bbbb"]
    assert not list(home.store.glob("b*"))
