"""The rooms of the house: exactly these look into exactly those, and nothing looks in a circle."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "concierge"

PAGE = SOURCE.parents[1] / "docs" / "architecture.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([a-z ]*)\|$", re.MULTILINE)
ARROWS = {name: looked_into.split() for name, looked_into in ROW.findall(PAGE.read_text(encoding="utf-8"))}
"""What each room imports, and nothing else, as the page of the house says."""


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(file): file for file in SOURCE.rglob("*.py")}


def imports(name: str) -> set[str]:
    """Return the modules of concierge that a module imports anywhere, for types only as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = {dotted.removeprefix("concierge").removeprefix(".") for dotted in found if dotted.startswith("concierge")}
    return {_module(dotted) for dotted in ours} - {""}


def _module(dotted: str) -> str:
    while dotted and dotted not in MODULES:
        dotted = dotted.rpartition(".")[0]
    return dotted


def room(module: str) -> str:
    return module.partition(".")[0]


ROOMS = sorted({room(module) for module in MODULES} - {""})


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_looks_into_exactly_the_rooms_that_the_plan_of_the_house_shows(name: str) -> None:
    seen = {room(found) for module in MODULES if room(module) == name for found in imports(module)} - {name}
    assert sorted(seen) == ARROWS[name]


def test_the_plan_of_the_house_shows_every_room_and_no_other() -> None:
    assert sorted(ARROWS) == ROOMS


def test_the_arrows_between_rooms_never_lead_back() -> None:
    TopologicalSorter(ARROWS).prepare()


def test_no_modules_import_one_another_in_a_circle() -> None:
    with_rooms = {module: imports(module) - {module} for module in MODULES if module}
    try:
        TopologicalSorter(with_rooms).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
