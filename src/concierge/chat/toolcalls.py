"""Tool calls as servers send them, joined into calls as the port promises them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from concierge import jsontext
from concierge.chat.port import ToolCall, identified


@dataclass(eq=False, slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def text(self) -> str:
        return "".join(self.arguments)


class CallJoiner:
    """Joins the pieces of tool calls by index and id.

    A new id under a used index is a new call, and so is a new name without an id: several servers send
    every call of a turn under index 0.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[object, _Call] = {}

    def add(self, piece: Any) -> None:
        """Take one entry of a ``tool_calls`` list, whole or a delta; what is not an object says nothing."""
        if not isinstance(piece, dict):
            return
        function = piece.get("function")
        if not isinstance(function, dict):
            function = {}
        call_id, name = _word(piece.get("id")), _word(function.get("name"))
        call = self._call_for(piece.get("index"), call_id, name)
        call.id = call.id or call_id
        if name and name != call.name:
            # Some servers cut the name itself into pieces.
            call.name += name
        arguments = function.get("arguments")
        if arguments is not None:
            call.arguments.append(arguments if isinstance(arguments, str) else json.dumps(arguments))

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls in the order in which they began, each with an id of its own and ``{}`` for no arguments."""
        return identified((ToolCall(call.id, call.name, call.text() or "{}") for call in self._calls), set())

    def _call_for(self, index: object, call_id: str, name: str) -> _Call:
        key = index if isinstance(index, int | str) else None
        current = self._current(key, call_id)
        if current is None or _begins_another(current, call_id, name):
            current = _Call()
            self._calls.append(current)
        if key is not None:
            self._by_index[key] = current
        return current

    def _current(self, key: int | str | None, call_id: str) -> _Call | None:
        if key is not None:
            return self._by_index.get(key)
        if call_id:
            return next((call for call in self._calls if call.id == call_id), None)
        return self._calls[-1] if self._calls else None


def numbered(entries: Any) -> list[dict[str, Any]]:
    """Return the entries of a message that came in one piece with an index of their own: each is a call."""
    objects = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [{**entry, "index": position} for position, entry in enumerate(objects)]


def _begins_another(current: _Call, call_id: str, name: str) -> bool:
    if call_id and current.id:
        return call_id != current.id
    if not name or not current.name:
        return False
    return name != current.name or _is_json(current.text())


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_json(text: str) -> bool:
    try:
        jsontext.parse(text)
    except ValueError:
        return False
    return True
