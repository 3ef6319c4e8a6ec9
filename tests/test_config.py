from __future__ import annotations

from pathlib import Path

import pytest

from concierge import config
from concierge.errors import ConfigError

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "etc")}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_each_place_overrides_the_one_before(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "etc/concierge/concierge.toml", '[llm]\nmodel = "user"\nengine = "ollama"\ncontext = 1024\n')
    write(tmp_path / "concierge.toml", '[llm]\nmodel = "project"\nengine = "llama-cpp"\n')
    environ["CONCIERGE_LLM_MODEL"] = "variable"
    by_variable = config.load(environ=environ, folder=tmp_path).llm
    by_flag = config.load({("llm", "model"): "flag"}, environ=environ, folder=tmp_path).llm
    assert (by_variable.context, by_variable.engine, by_variable.model) == (1024, "llama-cpp", "variable")
    assert by_flag.model == "flag"


def test_flags_that_were_not_given_change_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    loaded = config.load({("llm", "model"): None}, environ=environ, folder=tmp_path)
    assert loaded == config.Config()


def test_a_flat_json_file_says_where_the_server_is(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_CONFIG_PATH"] = str(EXAMPLES / "ollama.json")
    llm = config.load(environ=environ, folder=tmp_path).llm
    assert llm.base_url == "http://127.0.0.1:11434/v1"
    assert llm.local_llm_start_cmd == ("ollama", "serve")


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ('[llm]\nmodle = "x"\n', "llm.modle", "llm.model"),
        ("[runs]\nmax_steps = 1\n", "runs", "run"),
        ('local_llm_start_comand = ["x"]\n', "local_llm_start_comand", "llm.local_llm_start_cmd"),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest_name(
    tmp_path: Path, environ: dict[str, str], text: str, key: str, near: str
) -> None:
    file = write(tmp_path / "concierge.toml", text)
    with pytest.raises(ConfigError) as caught:
        config.load(environ=environ, folder=tmp_path)
    assert caught.value.exit_code == 2
    assert f"`{key}`" in caught.value.what
    assert str(file) in caught.value.what
    assert near in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[llm]\ncontext = "8192"\n', "llm.context"),
        ("[llm]\ncontext = 1\n", "llm.context"),
        ('[llm]\nengine = "llamacpp"\n', "llm.engine"),
        ('[llm]\nbase_url = "localhost:11434"\n', "llm.base_url"),
        ('[llm]\nlocal_llm_start_cmd = "ollama serve"\n', "llm.local_llm_start_cmd"),
        ('[llm]\nlocal_llm_ensure_available = "no"\n', "llm.local_llm_ensure_available"),
        ("[run]\nmax_seconds = 0\n", "run.max_seconds"),
        ("[api]\nport = 70000\n", "api.port"),
        ("llm = 3\n", "llm"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_file(
    tmp_path: Path, environ: dict[str, str], text: str, key: str
) -> None:
    file = write(tmp_path / "concierge.toml", text)
    with pytest.raises(ConfigError) as caught:
        config.load(environ=environ, folder=tmp_path)
    assert f"`{key}`" in caught.value.what
    assert str(file) in caught.value.what


def test_a_wrong_variable_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_LLM_CONTEXT"] = "many"
    with pytest.raises(ConfigError, match=r"`llm\.context` in CONCIERGE_LLM_CONTEXT"):
        config.load(environ=environ, folder=tmp_path)


def test_an_unknown_variable_is_not_silently_ignored(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_LLM_MODLE"] = "x"
    with pytest.raises(ConfigError, match="CONCIERGE_LLM_MODLE"):
        config.load(environ=environ, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "not = = toml"), ("a.json", "{"), ("a.json", "[1]"), ("a.toml", None), ("a.toml", "\udcff")],
)
def test_a_file_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, environ: dict[str, str], name: str, text: str | None
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text, encoding="utf-8", errors="surrogateescape")
    environ["CONCIERGE_CONFIG_PATH"] = str(file)
    with pytest.raises(ConfigError) as caught:
        config.load(environ=environ, folder=tmp_path)
    assert str(file) in caught.value.what


def test_a_secret_never_shows_in_a_repr(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_LLM_API_KEY"] = "sk-secret"
    loaded = config.load(environ=environ, folder=tmp_path)
    assert "sk-secret" not in repr(loaded)
    assert loaded.llm.api_key is not None
    assert loaded.llm.api_key.get_secret_value() == "sk-secret"


def test_every_key_is_read_by_code() -> None:
    source = Path(config.__file__).parents[1]
    texts = {path: path.read_text(encoding="utf-8") for path in source.rglob("*.py")}
    outside = "\n".join(text for path, text in texts.items() if "config" not in path.parts)
    inside = texts[Path(config.__file__)]
    unread = [key for key in config.known_keys() if f".{key[-1]}" not in outside and f"self.{key[-1]}" not in inside]
    assert unread == []
