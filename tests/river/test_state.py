"""Whole commands about the state of a machine: drift named and mended, back to an earlier generation, tidied, away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if sys.platform == "win32":
    pytest.skip("uses POSIX signals and modes", allow_module_level=True)

from concierge.files import remove
from concierge.store.manifest import STAMP_S, file_of
from tests.river.rig import Rig, wheel
from tests.river.test_json_page import BUNDLE, ROWS
from tests.wait import gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UP = ("up", "--locked")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    build = wheel()
    if build is None:
        pytest.skip("the catalogue has no engine wheel for this system")
    rig = Rig(tmp_path / "rig", build)
    yield rig
    rig(rig.root, "down")
    assert rig.servers() == []


def said(rig: Rig, folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    done, out, err = rig(folder, *words, "--json")
    assert done == code, err
    told: dict[str, Any] = json.loads(out)
    return told


def tree(root: Path) -> dict[str, object]:
    """Return everything below a folder: kinds, modes, sizes, links and contents."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path.relative_to(root))] = (status.st_mode, content)
    found.pop("home/run/lock", None)  # says who held it last
    return found


def entry_of(rig: Rig, ending: str) -> Path:
    [entry] = [path for path in rig.home.store.glob(f"*-{ending}") if path.is_dir()]
    return entry


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    file.chmod(0o444)
    os.utime(file, (STAMP_S, STAMP_S))


DAMAGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a model file that is gone": (lambda _, model: (model / "model.gguf").unlink(), "missing"),
    "a model file that was cut": (lambda _, model: os.truncate(model / "model.gguf", 10), "changed"),
    "a file beside the engine": (lambda engine, _: (engine / "planted.so").write_bytes(b"so"), "extra"),
    "another mode": (lambda _, model: (model / "model.gguf").chmod(0o666), "mode"),
    "a whole entry that is gone": (lambda _, model: remove(model), "missing"),
    "an engine whose manifest is gone": (lambda engine, _: file_of(engine).unlink(), "unknown"),
}


@pytest.mark.parametrize(("damage", "what"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named_by_its_path_and_mended_by_up(
    rig: Rig, damage: Callable[[Path, Path], object], what: str
) -> None:
    folder = rig.project("one", context=8192)
    assert rig(folder, *UP)[0] == 0
    whole = said(rig, folder, "verify")
    damage(entry_of(rig, "engine.zip"), entry_of(rig, "model.gguf"))
    found = said(rig, folder, "verify", code=4)
    [fault] = [fault for entry in found["entries"] for fault in entry["faults"]]
    assert (fault["what"], found["whole"], found["digest"]) == (what, False, None)
    assert [drift["where"] for drift in said(rig, folder, "status")["drift"]] == [fault["path"]]
    assert fault["path"] in said(rig, folder, "plan", "--locked")["drift"][0]
    assert rig(folder, *UP)[0] == 0
    assert said(rig, folder, "verify") == whole
    assert said(rig, folder, "status")["drift"] == []


def test_a_flipped_bit_is_found_by_verify_mended_by_up_and_served_no_more(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    assert rig(folder, *UP)[0] == 0
    whole, servers = said(rig, folder, "verify"), rig.servers()
    file = entry_of(rig, "model.gguf") / "model.gguf"
    flipped(file)
    assert said(rig, folder, "status")["drift"] == []
    code, out, _ = rig(folder, "verify")
    assert (code, out.strip()) == (4, f"{file} is not what was brought")
    code, _, err = rig(folder, *UP)
    assert code == 0, err
    assert str(file) in err
    assert said(rig, folder, "verify")["digest"] == whole["digest"]
    assert len(rig.servers()) == 1
    # The old one served the bytes that were wrong.
    assert rig.servers() != servers


def test_a_second_up_changes_nothing_and_fetches_nothing(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    assert rig(folder, *UP)[0] == 0
    before = tree(rig.root)
    shutil.move(rig.root / "engine.zip", rig.root / "moved.zip")
    code, _, err = rig(folder, *UP)
    shutil.move(rig.root / "moved.zip", rig.root / "engine.zip")
    assert (code, "Fetching" in err) == (0, False)
    assert tree(rig.root) == before


def test_other_flags_of_the_server_are_named_and_mended(rig: Rig) -> None:
    one, other = rig.project("one", context=8192), rig.project("other", context=1024)
    assert rig(one, *UP)[0] == 0
    assert rig(other, *UP)[0] == 0
    (rig.home.current).write_text("1\n")
    [drift] = said(rig, one, "status")["drift"]
    assert (drift["what"], drift["detail"]) == ("server", "was started otherwise: context 1024 → 8192")
    plan = said(rig, one, "plan", "--locked")
    assert "context 1024 → 8192" in next(c["detail"] for c in plan["changes"] if c["what"] == "server")
    assert plan["would_change"] is True
    assert rig(one, *UP)[0] == 0
    assert said(rig, one, "status")["drift"] == []
    assert said(rig, one, "plan", "--locked")["would_change"] is False


def test_another_machine_is_named_and_up_decides_again(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    assert rig(folder, *UP)[0] == 0
    file = rig.home.generations / "1.json"
    known = json.loads(file.read_bytes())
    known["marks"] = [[name, "999.9" if name == "processors" else value] for name, value in known["marks"]]
    file.write_text(json.dumps(known))
    [drift] = said(rig, folder, "status")["drift"]
    assert drift["what"] == "machine"
    assert drift["detail"].startswith("is another one: processors 999.9 → ")
    assert rig(folder, *UP)[0] == 0
    assert said(rig, folder, "status")["drift"] == []
    assert said(rig, folder, "status")["generation"] == 2


def test_a_lock_that_moved_is_named_and_mended(rig: Rig) -> None:
    folder, other = rig.project("one", context=8192), rig.project("other", context=1024)
    assert rig(folder, *UP)[0] == 0
    for name in ("concierge.toml", "concierge.lock"):
        shutil.copy(other / name, folder / name)
    drift = said(rig, folder, "status")["drift"]
    assert {(each["what"], each["where"]) for each in drift} == {
        ("question", "concierge.lock"),
        ("question", "context"),
    }
    # Who asks for nothing is told nothing.
    assert said(rig, rig.root, "status")["drift"] == []
    assert rig(folder, *UP)[0] == 0
    assert said(rig, folder, "status")["drift"] == []


def test_back_to_the_generation_before_needs_no_bytes_and_the_server_follows(rig: Rig) -> None:
    folder, other = rig.project("one", context=8192), rig.project("other", context=1024)
    assert rig(folder, *UP)[0] == 0
    for name in ("concierge.toml", "concierge.lock"):
        shutil.copy(other / name, folder / name)
    assert rig(folder, *UP)[0] == 0
    (rig.root / "engine.zip").unlink()
    (rig.root / "model.gguf").unlink()
    back = said(rig, folder, "rollback")
    assert (back["was"], back["generation"], back["context"]) == (2, 1, 8192)
    assert rig.servers() == []
    assert said(rig, folder, "plan", "--locked")["context"] == 8192
    assert said(rig, folder, *UP)["context"] == 8192
    code, _, err = rig(folder, *UP)
    assert (code, err.splitlines()[0]) == (0, "Generation 1 answers this, as `concierge rollback` chose.")
    rows = said(rig, folder, "generations")["generations"]
    assert [(row["number"], row["current"], row["held"], row["whole"]) for row in rows] == [
        (1, True, True, True),
        (2, False, False, True),
    ]
    assert "context 8192 → 1024" in rows[1]["differs"]
    assert said(rig, folder, "rollback", "2")["generation"] == 2
    assert said(rig, folder, *UP)["context"] == 1024
    assert rig(folder, "rollback", "7")[0] == 2
    assert rig.home.current.read_text() == "2\n"


def test_a_rollback_leaves_a_server_to_those_who_use_it(rig: Rig) -> None:
    folder, other = rig.project("one", context=8192), rig.project("other", context=1024)
    for project in (folder, other):
        assert rig(project, *UP)[0] == 0
    with rig.held(), rig.start(other, "run", "--locked", "hi") as running:
        assert running.stderr is not None
        assert any("Run " in line for line in running.stderr)
        code, _, err = rig(other, "rollback")
        assert (code, len(rig.servers())) == (0, 1)
        assert "is in use and is left to its users" in err
        (rig.home.root / "hold").unlink()
        running.communicate(timeout=60)
    assert running.returncode == 0
    assert said(rig, other, *UP)["context"] == 8192
    assert len(rig.servers()) == 1


def test_a_generation_whose_bytes_are_gone_is_refused_by_name(rig: Rig) -> None:
    one, other = rig.project("one", context=8192), rig.project("other", context=1024)
    for project in (one, other):
        assert rig(project, *UP)[0] == 0
    model = entry_of(rig, "model.gguf")
    remove(model)
    code, _, err = rig(other, "rollback")
    assert code == 4
    assert f"Generation 1 needs {model}, which is gone" in err
    assert rig.home.current.read_text() == "2\n"


def test_gc_takes_what_nothing_needs_says_it_with_bytes_and_leaves_the_rest(rig: Rig) -> None:
    one, other = rig.project("one", context=8192), rig.project("other", context=1024)
    for project in (one, other):
        assert rig(project, *UP)[0] == 0
    stray = rig.home.store / f"{'a' * 32}-left.gguf"
    stray.mkdir()
    (stray / "left.gguf").write_bytes(b"12345")
    before = tree(rig.home.root)
    planned = said(rig, one, "gc", "--dry-run")
    assert tree(rig.home.root) == before
    assert planned["removed"] == [{"kind": "entry", "path": str(stray), "bytes": 5}]
    assert said(rig, one, "gc") == {**planned, "dry_run": False}
    assert not stray.exists()
    assert said(rig, one, "gc")["removed"] == []
    # The locks of both projects still need their bytes when a generation goes.
    gone = said(rig, rig.root, "gc", "--keep", "1")["removed"]
    assert [(each["kind"], Path(each["path"]).name) for each in gone] == [("generation", "1.json")]
    assert said(rig, other, *UP)["started"] is False
    for name in ("one", "other"):
        (rig.root / name / "concierge.lock").unlink()
    (rig.home.generations / "2.json").unlink()
    assert rig(rig.root, "down")[0] == 0
    gone = said(rig, rig.root, "gc")["removed"]
    assert sorted(each["kind"] for each in gone) == ["entry", "entry"]
    assert [entry.name for entry in rig.home.store.iterdir()] == [".lock"]


def test_gc_leaves_what_a_living_server_was_started_from(rig: Rig) -> None:
    one, other = rig.project("one", context=8192), rig.project("other", context=1024)
    assert rig(one, *UP)[0] == 0
    with rig.held(), rig.start(one, "run", "--locked", "hi") as running:
        assert running.stderr is not None
        assert any("Run " in line for line in running.stderr)
        assert rig(other, *UP)[0] == 0
        said(rig, rig.root, "gc", "--keep", "0")
        assert (rig.home.generations / "1.json").exists()
        (rig.home.root / "hold").unlink()
        running.communicate(timeout=60)
    assert running.returncode == 0


def test_a_store_that_is_a_link_may_be_anothers_and_is_left_alone(rig: Rig) -> None:
    shared = rig.root / "shared"
    shared.mkdir()
    stray = shared / f"{'a' * 32}-left.gguf"
    stray.mkdir()
    rig.home.store.symlink_to(shared)
    assert said(rig, rig.root, "gc")["removed"] == []
    told = said(rig, rig.root, "destroy", "--yes")
    assert (stray.is_dir(), told["left"]) == (True, [str(rig.home.store)])


def test_the_machine_is_as_it_was_after_destroy(rig: Rig) -> None:
    home = rig.root / "new" / "deep" / "home"
    rig.environ["CONCIERGE_HOME"] = str(home)
    folder = rig.project("one", context=8192)
    before, processes = tree(rig.root), set(psutil.pids())
    assert rig(folder, *UP)[0] == 0
    server = next(p for p in psutil.process_iter(["cmdline"]) if str(home) in " ".join(p.info["cmdline"] or []))
    assert rig(folder, "run", "--locked", "hi")[0] == 0
    done = said(rig, folder, "destroy", "--yes")
    runs = folder / ".concierge" / "runs"
    assert done["runs"] == [str(runs)]
    assert (done["left"], done["home"], done["stopped"]["pid"]) == ([], str(home), server.pid)
    assert done["bytes"] > 100_000
    assert runs.is_dir()
    shutil.rmtree(runs.parent)
    assert tree(rig.root) == before
    assert gone(server)
    left = [p for p in set(psutil.pids()) - processes if str(rig.root) in _words(p)]
    assert left == []


def _words(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def test_destroy_leaves_what_is_not_ours_and_the_file_that_a_user_gave(rig: Rig) -> None:
    mine = rig.home.root / "mine"
    mine.write_text("a file of the user's")
    (rig.home.root / "store").mkdir()
    (rig.home.root / "store" / "note").write_text("another")
    folder = rig.project("one", context=8192)
    assert rig(folder, *UP)[0] == 0
    done = said(rig, folder, "destroy", "--yes")
    assert done["left"] == [str(mine), str(rig.home.store)]
    assert sorted(path.name for path in rig.home.root.rglob("*")) == ["mine", "note", "store"]
    assert (rig.root / "model.gguf").is_file()


def test_destroy_asks_first_and_nobody_there_is_no_yes(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    assert rig(folder, *UP)[0] == 0
    code, _, err = rig(folder, "destroy")
    assert (code, "--yes" in err, len(rig.servers())) == (2, True, 1)


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("y\n", 2)])
def test_destroy_takes_a_persons_yes_for_an_answer_and_nothing_else(rig: Rig, answer: str, code: int) -> None:
    (rig.home.root / "measured.json").write_text("{}")
    person, terminal = os.openpty()
    os.write(person, answer.encode())
    done = subprocess.run(
        [sys.executable, "-m", "concierge", "destroy"],
        cwd=rig.root,
        env={**rig.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(person)
    os.close(terminal)
    assert done.returncode == code, done.stderr
    assert (rig.home.root / "measured.json").exists() == (code != 0)


def test_what_people_read_names_what_matters(rig: Rig) -> None:
    one, other = rig.project("one", context=8192), rig.project("other", context=1024)
    for project in (one, other):
        assert rig(project, *UP)[0] == 0
    _, out, _ = rig(other, "generations")
    assert "* 2 " in out
    assert "context 8192 → 1024" in out
    _, out, _ = rig(other, "rollback")
    assert out.startswith("Generation 1: smollm2-135m with 8192 tokens, on llama-cpp")
    remove(entry_of(rig, "model.gguf"))
    _, out, _ = rig(other, "generations")
    assert "chosen by rollback" in out
    assert "its bytes are gone or damaged" in out
    stray = rig.home.store / f"{'a' * 32}-left.gguf"
    stray.mkdir()
    _, out, err = rig(other, "gc")
    assert (out.split(), err.strip()) == (["entry", "0", "B", str(stray)], "Removed 1, 0 B.")
    _, _, err = rig(other, "destroy", "--yes")
    assert f"in {rig.home.root}." in err


def test_on_a_machine_where_nothing_was_brought_up_nothing_is_made(rig: Rig) -> None:
    rig.environ["CONCIERGE_HOME"] = str(rig.root / "never")
    assert said(rig, rig.root, "destroy", "--yes")["bytes"] == 0
    assert said(rig, rig.root, "gc")["removed"] == []
    assert said(rig, rig.root, "generations")["generations"] == []
    assert rig(rig.root, "rollback")[0] == 2
    assert rig(rig.root, "verify", "--all")[0] == 4
    assert not (rig.root / "never").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_whoever_made_a_home_deletes_it_with_chmod_and_rm(rig: Rig) -> None:
    folder = rig.project("one", context=8192)
    for path in (rig.root, *rig.root.rglob("*")):
        os.chown(path, 65534, 65534)
    for parent in list(rig.root.parents)[:3]:
        parent.chmod(0o777)
    somebody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    code, _, err = rig(folder, *UP, through=somebody)
    if code != 0 and "Permission denied" in err:
        pytest.skip("this Python is root's alone")
    assert code == 0, err
    assert rig(folder, "down", through=somebody)[0] == 0
    subprocess.run([*somebody, "chmod", "-R", "u+w", str(rig.home.root)], check=True)
    done = subprocess.run([*somebody, "rm", "-rf", str(rig.home.root)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, rig.home.root.exists()) == (0, "", False)


def test_what_a_bundle_holds_brings_another_home_to_the_same_state_without_the_sources(
    rig: Rig, tmp_path: Path
) -> None:
    folder = rig.project("project", context=512)
    pins = tmp_path / "pins"
    code, out, _ = rig(folder, "bundle", str(pins), "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["files"], told["brought"], told["left_out"]) == (2, 2, [])
    assert told.keys() - {"schema"} == ROWS[BUNDLE]
    assert not (rig.home.root / "store").exists() or not list(rig.home.root.glob("store/[0-9a-f]*"))
    rig.forget_sources()
    assert rig(folder, "up")[0] == 4
    assert rig(folder, "up", "--mirror", str(pins))[0] == 0
    assert rig(folder, "verify")[0] == 0
    code, _, err = rig(folder, "bundle", str(pins), "--system", "sparc")
    assert (code, "pins no engine for sparc" in err) == (2, True)
