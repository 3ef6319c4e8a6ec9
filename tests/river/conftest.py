from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.river.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.deploy.spec import ServerSpec


@pytest.fixture
def place(tmp_path: Path, real_spec: ServerSpec) -> Iterator[Place]:
    made = Place(tmp_path, real_spec)
    yield made
    made("down", "--drain", "0")
    assert made.servers() == []
