"""A cloned project acts only once its user has allowed it, whatever command meets it first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import PathSource
from concierge.config.keys import Llm
from concierge.lock import file as lockfile
from concierge.lock.resolve import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.river.place import Place

COMMAND = "[llm]\nbase_url = 'http://127.0.0.1:9/v1'\nmodel = 'm'\nlocal_llm_start_timeout_s = 1\n"


@pytest.fixture
def hostile(place: Place) -> Path:
    """A cloned project whose start command leaves a trace; return the trace's place."""
    trace = place.root / "trace"
    command = json.dumps(["sh", "-c", f"touch {trace}"])
    (place.root / "concierge.toml").write_text(f"{COMMAND}local_llm_start_cmd = {command}\n")
    return trace


@pytest.mark.promise("S1")
@pytest.mark.parametrize("words", [("run", "hi"), ("up",), ("plan",), ("lock",), ("serve", "--port", "0")])
def test_no_command_runs_what_a_project_asks_for_unasked(place: Place, hostile: Path, words: tuple[str, ...]) -> None:
    code, out, err = place(*words)
    assert (code, out) == (2, "")
    assert f"touch {hostile}" in err
    assert "concierge trust" in err
    assert not hostile.exists()


@pytest.mark.promise("S8")
@pytest.mark.parametrize("words", [("status",), ("down",), ("runs", "list"), ("config", "show"), ("trust", "--list")])
def test_commands_that_act_on_nothing_of_the_project_go_on(place: Place, hostile: Path, words: tuple[str, ...]) -> None:
    nothing_is_ready = words == ("status",)
    assert place(*words)[0] == (5 if nothing_is_ready else 0)
    assert not hostile.exists()


def test_doctor_says_that_the_project_is_not_trusted(place: Place, hostile: Path) -> None:
    code, out, _ = place("doctor")
    assert code == 1
    assert f"touch {hostile}" in out


@pytest.mark.promise("S2")
def test_trust_allows_it_once_and_revoke_takes_it_back(place: Place, hostile: Path) -> None:
    code, out, err = place("trust")
    assert code == 0
    assert f"touch {hostile}" in out
    assert "exactly as it stands" in err
    place("up")
    assert hostile.exists()
    assert json.loads(place("trust", "--list", "--json")[1])["allowed"] is True
    assert place("trust", "--revoke")[0] == 0
    assert place("up")[0] == 2


@pytest.mark.promise("S3")
def test_a_changed_command_is_asked_for_again(place: Place, hostile: Path) -> None:
    place("trust")
    file = place.root / "concierge.toml"
    file.write_text(file.read_text().replace("touch ", "touch -c "))
    code, _, err = place("up")
    assert code == 2
    assert "touch -c" in err
    assert not hostile.exists()


@pytest.mark.promise("S6")
@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_script_allows_it_in_one_word(place: Place, hostile: Path, how: str) -> None:
    if how == "variable":
        place.environ["CONCIERGE_TRUST"] = "true"
    _, _, err = place("up", *(["--trust"] if how == "flag" else []))
    assert hostile.exists()
    assert "Allowed" in err


@pytest.mark.promise("S5")
def test_a_foreign_lock_is_refused_even_where_its_server_was_once_allowed(place: Place) -> None:
    lock = resolve(Llm(model="smollm2-135m"), load())
    model = lock.model[0]
    theirs = model.artefact[0].model_copy(update={"sources": (PathSource(path=str(place.root / "x.gguf")),)})
    (place.root / "concierge.toml").write_text("[llm]\nmodel = 'smollm2-135m'\n")
    foreign = lockfile.seal(
        lock.generator,
        lock.llm,
        lock.catalog.model_copy(update={"models": (model.model_copy(update={"artefact": (theirs,)}),)}),
        dict(lock.serving),
    )
    (place.root / "concierge.lock").write_text(lockfile.dump(foreign))
    for words in (("up", "--locked"), ("up",), ("plan",), ("run", "hi")):
        code, _, err = place(*words)
        assert code == 2
        assert str(place.root / "x.gguf") in err
    assert place("trust")[0] == 0
    assert place("up", "--locked")[0] == 0
    assert place("trust", "--revoke")[0] == 0
    assert place("run", "--locked", "hi")[0] == 2


def test_a_lock_that_concierge_wrote_here_is_not_asked_for(place: Place) -> None:
    (place.root / "concierge.toml").write_text("[llm]\nmodel = 'smollm2-135m'\n")
    assert place("lock")[0] == 0
    assert place("plan", "--locked")[0] == 0
    assert json.loads(place("trust", "--list", "--json")[1]) == {"schema": 1, "requests": [], "allowed": True}
