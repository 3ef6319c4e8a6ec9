from __future__ import annotations

import ast
from pathlib import Path

import pytest

from concierge.config.keys import SECTIONS, Config, known_keys
from concierge.config.sources import load, settings
from concierge.errors import ConfigError

DOCS = Path(__file__).parent.parent / "docs"
SOURCE = Path(__file__).parent.parent / "src" / "concierge"
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
    by_variable = load(environ=environ, folder=tmp_path).llm
    by_flag = load({("llm", "model"): "flag"}, environ=environ, folder=tmp_path).llm
    assert (by_variable.context, by_variable.engine, by_variable.model) == (1024, "llama-cpp", "variable")
    assert by_flag.model == "flag"


def test_flags_that_were_not_given_change_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    loaded = load({("llm", "model"): None}, environ=environ, folder=tmp_path)
    assert loaded == Config()


def test_a_flat_json_file_says_where_the_server_is(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_CONFIG_PATH"] = str(EXAMPLES / "ollama.json")
    llm = load(environ=environ, folder=tmp_path).llm
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
        load(environ=environ, folder=tmp_path)
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
        load(environ=environ, folder=tmp_path)
    assert f"`{key}`" in caught.value.what
    assert str(file) in caught.value.what


@pytest.mark.parametrize("words", ["many", pytest.param("[" * 5000, id="deep")])
def test_a_wrong_variable_is_named(tmp_path: Path, environ: dict[str, str], words: str) -> None:
    environ["CONCIERGE_LLM_CONTEXT"] = words
    with pytest.raises(ConfigError, match=r"`llm\.context` in CONCIERGE_LLM_CONTEXT"):
        load(environ=environ, folder=tmp_path)


def test_an_unknown_variable_is_not_silently_ignored(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_LLM_MODLE"] = "x"
    with pytest.raises(ConfigError, match="CONCIERGE_LLM_MODLE"):
        load(environ=environ, folder=tmp_path)


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
        load(environ=environ, folder=tmp_path)
    assert str(file) in caught.value.what


def test_a_secret_never_shows_in_a_repr(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["CONCIERGE_LLM_API_KEY"] = "sk-secret"
    loaded = load(environ=environ, folder=tmp_path)
    assert "sk-secret" not in repr(loaded)
    assert loaded.llm.api_key is not None
    assert loaded.llm.api_key.get_secret_value() == "sk-secret"


KINDS = {"Config": (), **{kind.__name__: (section,) for section, kind in SECTIONS.items()}}
"""The classes that hold keys, with the words before the names of their own."""


class Readings(ast.NodeVisitor):
    """Finds which keys are read: attributes of what is annotated, somewhere, with a class that holds keys."""

    def __init__(self) -> None:
        self.kinds = {kind: kind for kind in KINDS}
        self.names: dict[str, str] = {}
        self.found: list[ast.Attribute] = []

    def _is(self, name: str, annotation: ast.expr | None) -> None:
        words = (node.id for node in ast.walk(annotation or ast.Constant(None)) if isinstance(node, ast.Name))
        self.names.update((name, self.kinds[word]) for word in words if word in self.kinds)

    def visit_arg(self, node: ast.arg) -> None:
        self._is(node.arg, node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._is(ast.unparse(node.target), node.annotation)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._is(node.name, node.returns)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in self.kinds:
            self.kinds[ast.unparse(node.targets[0])] = self.kinds[node.value.id]
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.name in KINDS:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and inner.id == "self":
                    inner.id = node.name
            self.names[node.name] = node.name
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.found.append(node)
        self.generic_visit(node)

    def keys(self) -> set[tuple[str, ...]]:
        kinds = [(self._kind(node.value), node.attr) for node in self.found]
        return {(*KINDS[kind], name) for kind, name in kinds if kind is not None}

    def _kind(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Call):
            return self._kind(node.func)
        if isinstance(node, ast.Attribute):
            inside = SECTIONS.get(node.attr) if self._kind(node.value) == "Config" else None
            return inside.__name__ if inside else self.names.get(node.attr)
        return self.names.get(node.id) if isinstance(node, ast.Name) else None


def read_by(*sources: str) -> set[tuple[str, ...]]:
    readings = Readings()
    # Twice: a name may be used before it is known what it is.
    for source in (*sources, *sources):
        readings.visit(ast.parse(source))
    return readings.keys()


def test_every_key_is_read_by_code() -> None:
    read = read_by(*(file.read_text(encoding="utf-8") for file in sorted(SOURCE.rglob("*.py"))))
    assert set(known_keys()) - read == set()


def test_a_key_counts_as_read_only_where_what_is_read_holds_keys() -> None:
    code = """
Limits = Run
def one(config: Config, limits: Limits | None, other: Other):
    config.llm.model, limits.max_steps, other.host, other.model.context, made().locked
def made() -> Config: ...
class Llm:
    def address(self): return self.base_url
"""
    wanted = {("llm",), ("llm", "model"), ("run", "max_steps"), ("locked",), ("llm", "base_url")}
    assert read_by(code) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[llm]\ncontext = 256\n", 256),
        ("[llm]\ntemperature = 0\n", 0.0),
        ("[llm]\ntemperature = 2\n", 2.0),
        ('[llm]\ntemperature = "auto"\n', "auto"),
        ("[llm]\nconnect_timeout_s = 0.001\n", 0.001),
        ("[llm]\nlocal_llm_ensure_available = false\n", False),
        ("[api]\nport = 0\n", 0),
        ("[api]\nport = 65535\n", 65535),
        ("[run]\nmax_steps = 1\n", 1),
        ('workspace_root = "runs"\n', Path("runs")),
    ],
)
def test_a_value_at_its_limit_is_taken(tmp_path: Path, environ: dict[str, str], text: str, value: object) -> None:
    write(tmp_path / "concierge.toml", text)
    (setting,) = settings({}, environ=environ, folder=tmp_path).values()
    assert (type(setting.value), setting.value) == (type(value), value)
    assert setting.place == str(tmp_path / "concierge.toml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[llm]\ncontext = 255\n", "is less than 256"),
        ("[llm]\ncontext = true\n", "is not a whole number"),
        ("[llm]\ncontext = 512.0\n", "is not a whole number"),
        ("[llm]\ntemperature = -0.001\n", "is less than 0"),
        ("[llm]\ntemperature = 2.001\n", "is more than 2"),
        ("[llm]\ntemperature = true\n", "is not a number"),
        ("[llm]\ntemperature = nan\n", "is not a number"),
        ("[llm]\nconnect_timeout_s = 0\n", "is not above 0"),
        ("[llm]\nlocal_llm_ensure_available = 1\n", "is neither true nor false"),
        ("[llm]\nlocal_llm_start_cmd = []\n", "is not a list of words"),
        ('[llm]\nlocal_llm_start_cmd = ["a", 1]\n', "is not a list of words"),
        ('[llm]\nmodel = " "\n', "is empty"),
        ("[llm]\nmodel = 1\n", "is not text"),
        ("[api]\nport = -1\n", "is less than 0"),
        ("[api]\nport = 65536\n", "is more than 65535"),
        ("[run]\nmax_steps = 0\n", "is less than 1"),
        ("workspace_root = 1\n", "is not text"),
    ],
)
def test_a_value_beyond_its_limit_is_refused_with_the_reason(
    tmp_path: Path, environ: dict[str, str], text: str, why: str
) -> None:
    write(tmp_path / "concierge.toml", text)
    with pytest.raises(ConfigError, match=why) as caught:
        load(environ=environ, folder=tmp_path)
    assert caught.value.hint


def test_a_variable_of_a_key_that_is_no_text_is_read_as_json(tmp_path: Path, environ: dict[str, str]) -> None:
    environ |= {
        "CONCIERGE_LLM_CONTEXT": "512",
        "CONCIERGE_LLM_LOCAL_LLM_START_CMD": '["a", "b"]',
        "CONCIERGE_LLM_MODEL": "123",
        "CONCIERGE_LOCKED": "true",
    }
    found = load(environ=environ, folder=tmp_path)
    assert (found.llm.context, found.llm.local_llm_start_cmd, found.llm.model) == (512, ("a", "b"), "123")
    assert found.locked


def test_the_workspaces_short_variable_wins_over_files(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "concierge.toml", 'workspace_root = "file"\n')
    environ["CONCIERGE_WORKSPACE"] = "short"
    assert load(environ=environ, folder=tmp_path).workspace_root == Path("short")
    environ["CONCIERGE_WORKSPACE"] = ""
    with pytest.raises(ConfigError, match="CONCIERGE_WORKSPACE"):
        load(environ=environ, folder=tmp_path)


def test_a_key_in_its_table_wins_over_the_same_at_the_top(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "concierge.toml", 'model = "flat"\nbase_url = "http://127.0.0.1:1/v1/"\n[llm]\nmodel = "table"\n')
    found = load(environ=environ, folder=tmp_path).llm
    assert (found.model, found.base_url) == ("table", "http://127.0.0.1:1/v1")


def test_a_named_file_takes_the_place_of_the_projects_and_not_of_the_users(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    write(tmp_path / "etc/concierge/concierge.toml", "[llm]\ncontext = 1024\n")
    write(tmp_path / "concierge.toml", '[llm]\nmodel = "project"\n')
    environ["CONCIERGE_CONFIG_PATH"] = str(write(tmp_path / "named.toml", '[llm]\nengine = "ollama"\n'))
    found = load(environ=environ, folder=tmp_path).llm
    assert (found.context, found.model, found.engine) == (1024, "auto", "ollama")


def test_a_wrong_value_is_shown_shortened_and_a_secret_not_at_all(tmp_path: Path, environ: dict[str, str]) -> None:
    for length, shown in ((58, "'" + "x" * 58 + "'"), (59, "'" + "x" * 56 + "...")):
        write(tmp_path / "concierge.toml", f'[llm]\ncontext = "{"x" * length}"\n')
        with pytest.raises(ConfigError) as caught:
            load(environ=environ, folder=tmp_path)
        assert f": {shown} is not" in caught.value.what
    write(tmp_path / "concierge.toml", "[llm]\napi_key = 12345678\n")
    with pytest.raises(ConfigError) as caught:
        load(environ=environ, folder=tmp_path)
    assert "12345678" not in str(caught.value)
