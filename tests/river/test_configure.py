"""``concierge config set`` as a person uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.river.place import Place


def test_a_key_is_set_in_the_persons_own_file_where_there_is_no_project(place: Place) -> None:
    code, _, err = place("config", "set", "llm.model", "smollm2-135m")
    own = place.home / ".config" / "concierge" / "concierge.toml"
    assert (code, own.read_text()) == (0, '[llm]\nmodel = "smollm2-135m"\n')
    assert str(own) in err
    assert not (place.root / "concierge.toml").exists()


def test_in_a_project_its_file_is_changed_and_what_is_set_here_is_allowed(place: Place) -> None:
    file = place.root / "concierge.toml"
    file.write_text("# ours\n[llm]\ncontext = 4096\n")
    assert place("config", "set", "llm.local_llm_start_cmd", '["true"]')[0] == 0
    assert file.read_text() == '# ours\n[llm]\nlocal_llm_start_cmd = ["true"]\ncontext = 4096\n'
    assert json.loads(place("trust", "--list", "--json")[1])["allowed"] is True


def test_what_a_project_asked_for_before_is_not_allowed_by_setting_something_else(place: Place) -> None:
    (place.root / "concierge.toml").write_text("[llm]\nlocal_llm_start_cmd = ['theirs']\n")
    assert place("config", "set", "llm.context", "4096")[0] == 0
    assert json.loads(place("trust", "--list", "--json")[1])["allowed"] is False


def test_wrong_keys_and_values_are_told_as_in_a_file_and_change_nothing(place: Place) -> None:
    for words, told in (
        (("llm.modle", "m"), "Did you mean `llm.model`?"),
        (("llm.context", "many"), "is not `auto` or a whole number"),
        (("llm.engine", "steam"), "is not one of"),
    ):
        code, _, err = place("config", "set", *words)
        assert code == 2
        assert told in err
    (place.root / "concierge.toml").write_text("")
    code, _, err = place("config", "set", "trust", "true")
    assert (code, "may not allow itself" in err) == (2, True)


def test_a_file_keeps_its_mode_its_link_and_its_line_ends(place: Place) -> None:
    real = place.root / "elsewhere.toml"
    real.write_bytes(b"[llm]\r\ncontext = 4096 # tokens\r\n")
    real.chmod(0o644)
    link = place.root / "concierge.toml"
    link.symlink_to(real)
    assert place("config", "set", "llm.context", "8192")[0] == 0
    assert link.is_symlink()
    assert real.read_bytes() == b"[llm]\r\ncontext = 8192 # tokens\r\n"
    assert real.stat().st_mode & 0o777 == 0o644


def test_a_new_file_is_its_owners_alone(place: Place) -> None:
    place("config", "set", "llm.model", "m")
    assert (place.home / ".config" / "concierge" / "concierge.toml").stat().st_mode & 0o077 == 0
