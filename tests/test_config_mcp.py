"""The table of an MCP server: what it may hold, who may set it, and what is shown of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.cli import reference
from concierge.config.keys import McpServer
from concierge.config.sources import load, wanted
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The person's own file."""
    file = tmp_path / "home" / ".config" / "concierge" / "concierge.toml"
    file.parent.mkdir(parents=True)
    return file


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


def test_servers_stand_in_tables_of_their_names(own: Path, environ: dict[str, str], tmp_path: Path) -> None:
    own.write_text(
        "[mcp.servers.time]\ncommand = ['uvx', 'mcp-server-time']\nenv = {TZ = 'UTC'}\ntimeout_s = 5\n"
        "[mcp.servers.web]\nurl = 'https://mcp.example/mcp'\ntoken_env = 'TOKEN'\ntools = ['search']\n"
    )
    found = load(environ=environ, folder=tmp_path).mcp
    assert found["web"] == McpServer(url="https://mcp.example/mcp", token_env="TOKEN", tools=("search",))
    assert (found["time"].command, found["time"].timeout_s) == (("uvx", "mcp-server-time"), 5)
    assert [(name, text.get_secret_value()) for name, text in found["time"].env] == [("TZ", "UTC")]


def test_a_project_takes_the_place_of_a_server_of_ones_own_and_gets_nothing_that_was_lent_to_it(
    own: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    own.write_text("[mcp.servers.a]\ncommand = ['mine']\nenv = {KEY = 'secret'}\n[mcp.servers.b]\ncommand = ['mine']\n")
    (tmp_path / "concierge.toml").write_text("[mcp.servers.a]\ncommand = ['theirs']\n")
    found = load(environ=environ, folder=tmp_path).mcp
    assert found == {"a": McpServer(command=("theirs",)), "b": McpServer(command=("mine",))}


@pytest.mark.parametrize(
    "line", ["command = ['x']\nenv_from = ['AWS_SECRET_ACCESS_KEY']", "token_env = 'GITHUB_TOKEN'"]
)
def test_a_project_may_not_name_the_variables_of_whoever_works_in_it(
    line: str, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "concierge.toml").write_text(f"[mcp.servers.x]\n{line}\n")
    with pytest.raises(ConfigError, match="may not name the variables") as caught:
        load(environ=environ, folder=tmp_path)
    assert caught.value.hint == "Set it in your own concierge.toml."


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[mcp.servers.x]", None),
        ("[mcp.servers.x]\ntimeout_s = 3", "`mcp.servers.x` in .* needs a `command` or a `url`, and not both"),
        ("[mcp.servers.x]\ncommand = ['a']\nurl = 'http://127.0.0.1/'", "and not both"),
        ("[mcp.servers.x]\nurl = 'http://127.0.0.1/'\nenv = {A = 'b'}", "has a `url`, which takes no `env`"),
        ("[mcp.servers.x]\ncommand = ['a']\ntoken_env = 'T'", "has a `command`, which takes no `token_env`"),
        ("[mcp.servers.x]\ncommand = 'a b'", "`mcp.servers.x.command` in .* is not a list of words"),
        ("[mcp.servers.x]\ncommand = ['a']\nenv = {A = 1}", "the value is not a table of texts"),
        ("[mcp.servers.x]\ncomand = ['a']", "Unknown key `mcp.servers.x.comand`"),
        ("[mcp.server.x]\ncommand = ['a']", "Unknown key `mcp.server`"),
        ("[mcp]\nservers = 3", "`mcp.servers` in .* is a table of keys"),
        ("[mcp.servers]\nx = 'a'", "`mcp.servers.x` in .* is a table of keys"),
        ("mcp = 1", "`mcp` in .* is a table of keys"),
    ],
)
def test_a_wrong_table_is_a_sentence(
    text: str, what: str | None, own: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    own.write_text(text + "\n")
    if what is None:
        assert load(environ=environ, folder=tmp_path).mcp == {}
        return
    with pytest.raises(ConfigError, match=what):
        load(environ=environ, folder=tmp_path)


def test_a_mistyped_key_of_a_server_has_a_hint(own: Path, environ: dict[str, str], tmp_path: Path) -> None:
    own.write_text("[mcp.servers.x]\ncomand = ['a']\n")
    with pytest.raises(ConfigError) as caught:
        load(environ=environ, folder=tmp_path)
    assert caught.value.hint == "Did you mean `mcp.servers.x.command`?"


def test_what_holds_is_shown_without_the_texts_of_variables(own: Path, environ: dict[str, str], tmp_path: Path) -> None:
    own.write_text("[mcp.servers.x]\ncommand = ['a']\nenv = {KEY = 'sk-secret'}\n")
    shown = {row.key: row.shown for row in reference.effective(environ=environ, folder=tmp_path)}
    assert shown["mcp.servers.x.command"] == '["a"]'
    assert shown["mcp.servers.x.env"] == '{"KEY": "**********"}'


def test_a_key_of_a_server_is_set_by_name() -> None:
    assert wanted("mcp.servers.x.command", '["a", "b"]') == (("mcp", "servers", "x", "command"), ["a", "b"])
