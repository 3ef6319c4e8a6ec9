from __future__ import annotations

import tomllib
from pathlib import Path

from concierge.cli import reference
from concierge.config import keys, sources
from tools import configuration_page

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_reference_page_holds_every_key_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8").endswith(configuration_page.markdown())


def test_the_template_sets_nothing_and_every_line_of_it_is_valid(tmp_path: Path) -> None:
    text = reference.template()
    assert all(not keys for keys in tomllib.loads(text).values())
    file = tmp_path / "concierge.toml"
    assignments = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    file.write_text("\n".join(assignments), encoding="utf-8")
    found = sources.settings({}, environ={"HOME": str(tmp_path)}, folder=tmp_path)
    assert found.keys() == keys.known_keys().keys() - sources.PERSONAL.keys()


def test_effective_settings_tell_who_set_them_and_mask_secrets(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "CONCIERGE_LLM_API_KEY": "sk-secret"}
    (tmp_path / "concierge.toml").write_text('[llm]\nmodel = "tiny"\n', encoding="utf-8")
    rows = {row.key: row for row in reference.effective(environ=environ, folder=tmp_path)}
    assert (rows["llm.model"].value, rows["llm.model"].place) == ("tiny", str(tmp_path / "concierge.toml"))
    assert rows["llm.engine"].place == "default"
    assert "sk-secret" not in str(rows)
