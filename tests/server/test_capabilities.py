from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.paths import Home
from concierge.server.capabilities import KEPT, Capability, find, keep

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_found_out_last_is_what_is_known(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    keep(home, Capability("http://127.0.0.1:1/v1", "m", "native"))
    keep(home, Capability("http://127.0.0.1:1/v1", "n", "native"))
    keep(home, Capability("http://127.0.0.1:1/v1", "m", "shell"))
    assert find(home, "http://127.0.0.1:1/v1", "m") == Capability("http://127.0.0.1:1/v1", "m", "shell")
    assert find(home, "http://127.0.0.1:2/v1", "m") is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for number in range(KEPT + 1):
        keep(home, Capability("s", str(number), "native"))
    assert (find(home, "s", "0"), find(home, "s", str(KEPT))) == (None, Capability("s", str(KEPT), "native"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9, "endpoints": []}', '{"schema": 1, "endpoints": [{}]}'])
def test_what_cannot_be_read_was_not_asked(text: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.endpoints.write_text(text, encoding="utf-8")
    assert find(home, "s", "m") is None
    keep(home, Capability("s", "m", "json"))
    assert find(home, "s", "m") == Capability("s", "m", "json")
