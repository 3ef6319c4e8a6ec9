"""A cloned project may not use its user: whose key goes to whose address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.config.sources import load
from concierge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.config.keys import Config

THEIRS = "http://192.0.2.1/v1"
"""The address that a project names."""


class Person:
    """Somebody with a home, in a folder that somebody else may have written."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "project"
        self.folder.mkdir()
        self.own = root / "config" / "concierge" / "concierge.toml"
        self.own.parent.mkdir(parents=True)
        self.environ = {"XDG_CONFIG_HOME": str(root / "config"), "HOME": str(root), "SECRET": "from-a-variable"}
        self.said: list[str] = []

    def project(self, text: str) -> None:
        (self.folder / "concierge.toml").write_text(text)

    def load(self, **flags: str) -> Config:
        overrides: dict[tuple[str, ...], str] = {("llm", name): value for name, value in flags.items()}
        return load(overrides, environ=self.environ, folder=self.folder, say=self.said.append)

    def sent(self, **flags: str) -> str | None:
        """Return the key that goes to the address that holds."""
        return self.load(**flags).llm.endpoint(model="m", environ=self.environ).api_key


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.mark.promise("S10")
@pytest.mark.parametrize(
    "own", ["api_key = 'mine'", "api_key_env = 'SECRET'", "base_url = 'http://192.0.2.9/v1'\napi_key = 'mine'"]
)
def test_a_key_of_the_persons_own_file_never_goes_to_a_projects_address(person: Person, own: str) -> None:
    person.own.write_text(own if "api_key_env" not in own else f"[llm]\n{own}")
    person.project(f"base_url = '{THEIRS}'")
    assert person.sent() is None
    (line,) = person.said
    assert str(person.own) in line
    assert "not sent" in line


@pytest.mark.promise("S11")
@pytest.mark.parametrize("name", ["CONCIERGE_LLM_API_KEY", "CONCIERGE_LLM_API_KEY_ENV"])
def test_a_key_of_the_persons_environment_never_goes_to_a_projects_address(person: Person, name: str) -> None:
    person.environ[name] = "SECRET"
    person.project(f"base_url = '{THEIRS}'")
    assert person.sent() is None
    assert name in person.said[0]


@pytest.mark.promise("S9")
def test_a_project_may_not_name_a_variable(person: Person) -> None:
    person.project(f"[llm]\nbase_url = '{THEIRS}'\napi_key_env = 'AWS_SECRET_ACCESS_KEY'")
    with pytest.raises(ConfigError, match="may not name the variables") as caught:
        person.load()
    assert caught.value.exit_code == 2


@pytest.mark.promise("S9")
def test_a_project_may_not_name_a_file(person: Person) -> None:
    person.project(f"[llm]\nbase_url = '{THEIRS}'\napi_key_file = '/etc/shadow'")
    with pytest.raises(ConfigError, match="may not name the files") as caught:
        person.load()
    assert caught.value.exit_code == 2


@pytest.fixture
def served(person: Person, tmp_path: Path) -> Person:
    """A person on a machine whose administrator runs a server for all, with a key in a file."""
    (tmp_path / "key").write_text("shared\n")
    text = f"[llm]\nbase_url = 'http://127.0.0.1:11435/v1'\nmodel = 'm'\napi_key_file = '{tmp_path / 'key'}'\n"
    (tmp_path / "machine.toml").write_text(f"{text}[run]\nmax_steps = 7\n")
    person.environ["CONCIERGE_SYSTEM_CONFIG_PATH"] = str(tmp_path / "machine.toml")
    return person


def test_the_server_of_the_machine_is_found_with_its_key(served: Person) -> None:
    assert served.load().llm.base_url == "http://127.0.0.1:11435/v1"
    assert (served.load().llm.model, served.sent(), served.said) == ("m", "shared", [])


@pytest.mark.parametrize("where", ["own", "project", "variable", "flag"])
def test_another_address_gets_nothing_that_was_said_of_the_machines_server(served: Person, where: str) -> None:
    flags = {"base_url": THEIRS} if where == "flag" else {}
    if where == "own":
        served.own.write_text(f"base_url = '{THEIRS}'")
    elif where == "project":
        served.project(f"base_url = '{THEIRS}'")
    elif where == "variable":
        served.environ["CONCIERGE_LLM_BASE_URL"] = THEIRS
    found = served.load(**flags)
    assert (found.llm.base_url, found.llm.model, found.llm.api_key_file) == (THEIRS, "auto", None)
    assert found.run.max_steps == 7


def test_a_key_that_cannot_be_read_is_an_error_that_says_what_to_do(served: Person, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match=r"cannot be read from .*key: No such file") as caught:
        served.sent()
    assert caught.value.exit_code == 2
    assert caught.value.hint is not None
    assert "group" in caught.value.hint


def test_a_projects_own_key_goes_to_its_own_address(person: Person) -> None:
    person.project(f"base_url = '{THEIRS}'\napi_key = 'shared-by-the-team'")
    assert (person.sent(), person.said) == ("shared-by-the-team", [])


def test_a_key_that_stands_beside_an_address_goes_to_no_other_one(person: Person) -> None:
    person.own.write_text("base_url = 'http://192.0.2.9/v1'\napi_key = 'mine'")
    assert (person.sent(), person.said) == ("mine", [])
    assert person.sent(base_url="http://192.0.2.8/v1") is None
    assert "command line" in person.said[0]


@pytest.mark.parametrize("name", ["CONCIERGE_LLM_API_KEY", "CONCIERGE_LLM_API_KEY_ENV"])
def test_a_key_in_a_variable_goes_to_any_address_that_the_same_person_names(person: Person, name: str) -> None:
    person.environ[name] = "SECRET"
    expected = {"CONCIERGE_LLM_API_KEY": "SECRET", "CONCIERGE_LLM_API_KEY_ENV": "from-a-variable"}[name]
    assert person.sent(base_url="http://192.0.2.8/v1") == expected
    person.own.write_text("base_url = 'http://192.0.2.9/v1'")
    assert (person.sent(), person.said) == (expected, [])


def test_a_file_that_the_person_names_is_the_persons(person: Person) -> None:
    named = person.folder / "mine.toml"
    named.write_text(f"[llm]\nbase_url = '{THEIRS}'\napi_key_env = 'SECRET'")
    person.environ["CONCIERGE_CONFIG_PATH"] = str(named)
    assert (person.sent(), person.said) == ("from-a-variable", [])


def test_a_project_that_says_nothing_of_an_address_changes_nothing(person: Person) -> None:
    person.own.write_text("base_url = 'http://192.0.2.9/v1'\napi_key = 'mine'")
    person.project("model = 'm'")
    assert (person.sent(), person.said) == ("mine", [])


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_should_hold_the_key_and_is_not_set_is_said(person: Person, value: str | None) -> None:
    del person.environ["SECRET"]
    if value is not None:
        person.environ["SECRET"] = value
    person.own.write_text("[llm]\napi_key_env = 'SECRET'")
    assert person.sent() is None
    assert person.said == ["`api_key_env` names SECRET, which is not set: no key is sent."]
    person.said.clear()
    person.environ["SECRET"] = "set"
    assert (person.sent(), person.said) == ("set", [])
