"""The rooms of the house and the direction in which they may look."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "concierge"

COMMON = {
    "config",
    "documents",
    "endpoint",
    "errors",
    "files",
    "jsontext",
    "mutex",
    "net",
    "paths",
    "platforms",
    "processes",
    "units",
}
MAY_IMPORT = {
    "cli": {"river", "api", "agent", "chat", "server", "deploy", "store", "plan", "machine", "catalog"},
    "river": {"api", "agent", "chat", "server", "deploy", "store", "lock", "plan", "machine", "catalog"},
    "api": {"agent", "chat", "server", "deploy", "machine", "catalog"},
    "agent": {"chat"},
    "chat": set[str](),
    "server": {"deploy"},
    "deploy": {"plan", "store", "catalog"},
    "lock": {"gguf", "catalog"},
    "plan": {"fit", "machine", "catalog"},
    "fit": {"catalog"},
    "gguf": {"catalog"},
    "machine": set[str](),
    "catalog": set[str](),
    "config": set[str](),
    "documents": set[str](),
    "endpoint": set[str](),
    "files": set[str](),
    "jsontext": set[str](),
    "mutex": set[str](),
    "net": set[str](),
    "platforms": set[str](),
    "processes": set[str](),
    "units": set[str](),
    "store": {"catalog"},
    "errors": set[str](),
    "paths": set[str](),
}


def rooms_imported_by(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module or "")
            if node.module == "concierge":
                names.update(f"concierge.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    parts = (name.split(".") for name in names)
    return {part[1] for part in parts if part[0] == "concierge" and len(part) > 1} - {"__version__"}


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_imports_point_one_way(room: str) -> None:
    folder = SOURCE / room
    modules = sorted(folder.rglob("*.py")) if folder.is_dir() else [SOURCE / f"{room}.py"]
    allowed = MAY_IMPORT[room] | COMMON | {room}
    wrong = {str(m.relative_to(SOURCE)): sorted(rooms_imported_by(m) - allowed) for m in modules}
    assert {module: rooms for module, rooms in wrong.items() if rooms} == {}


def test_every_room_is_named_in_the_rule() -> None:
    rooms = {p.stem for p in SOURCE.iterdir() if not p.name.startswith(("_", ".")) and p.suffix in ("", ".py")}
    assert rooms == set(MAY_IMPORT)
