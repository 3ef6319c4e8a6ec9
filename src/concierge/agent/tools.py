"""The tools that a model may call: a tool's fields are its arguments, its docstring what the model reads."""

from __future__ import annotations

import inspect
import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from concierge.agent.arguments import BadCallError, parse
from concierge.agent.workspace import CONFINED, Entry, Workspace
from concierge.errors import ToolError

if TYPE_CHECKING:
    from concierge.agent.events import CallStatus

CALLS_PER_ANSWER = 16
"""A model that asks for more at once has lost its way."""
SHOWN_CHARS = 4000
"""About 1,100 tokens: a small model's context must hold several results beside the task."""


class Tool(BaseModel):
    """A call of one tool, with its arguments checked; ``"5"`` is taken for 5 and 5 for ``"5"``."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    name: ClassVar[str]
    example: ClassVar[str]

    def call(self, workspace: Workspace) -> str:
        """Do it and return the text for the model; a ``ToolError`` says what to send instead."""
        raise NotImplementedError


class Read(Tool):
    """Read a text file."""

    name = "read"
    example = '{"path": "notes.txt"}'

    path: Annotated[str, Field(description="File, relative to the folder")]
    start: Annotated[int, Field(ge=1, description="First line to read")] = 1

    def call(self, workspace: Workspace) -> str:
        content = workspace.read(self.path)
        if b"\0" in content:
            raise ToolError(f"{self.path} is not a text file. Read another one.")
        return _window(content.decode("utf-8", "replace"), self.start)


class Write(Tool):
    """Write a whole text file, replacing what was there."""

    name = "write"
    example = '{"path": "notes.txt", "content": "Hello.\\n"}'

    path: Annotated[str, Field(description="File, relative to the folder")]
    content: Annotated[str, Field(description="The file's whole new text")]

    @field_validator("content", mode="before")
    @classmethod
    def _json_is_text(cls, value: object) -> object:
        # Asked for a JSON file, models send the object itself.
        return json.dumps(value, ensure_ascii=False, indent=2) if isinstance(value, dict | list) else value

    def call(self, workspace: Workspace) -> str:
        workspace.write(self.path, self.content.encode("utf-8", "replace"))
        return f"Wrote {len(self.content)} characters to {self.path}."


class List(Tool):
    """List a folder's files."""

    name = "list"
    example = '{"path": "."}'

    path: Annotated[str, Field(description="Folder, relative to the folder")] = "."

    def call(self, workspace: Workspace) -> str:
        entries, more = workspace.entries(self.path)
        lines = [_line(entry) for entry in entries]
        return "\n".join([*lines, "(and more)"] if more else lines) or "(empty folder)"


TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Read, Write, List)}


class Tools:
    """The toolbox of one run, whose tools touch its workspace alone."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @staticmethod
    @cache
    def specs() -> tuple[dict[str, Any], ...]:
        """Return the tools in the chat-completions format; none where the workspace cannot be confined."""
        return tuple(_spec(tool) for tool in TOOLS.values()) if CONFINED else ()

    def carry_out(self, name: str, arguments: str, *, number: int) -> tuple[CallStatus, str]:
        """Return how the answer's call of that number went, and the text that the model may mend it by."""
        if number > CALLS_PER_ANSWER:
            return "bad_call", f"Error: Too many calls at once. Send at most {CALLS_PER_ANSWER}, then wait."
        try:
            return "ok", self.call(name, arguments)
        except BadCallError as error:
            return "bad_call", f"Error: {error}"
        except ToolError as error:
            return "error", f"Error: {error}"

    def call(self, name: str, arguments: str) -> str:
        """Carry out a call as the model wrote it and return the text for the model, or raise what it may mend."""
        tool = TOOLS.get(name)
        if tool is None:
            raise BadCallError(f"There is no tool {name[:80]!r}. Call one of: {', '.join(TOOLS)}.")
        first = next((field for field, info in tool.model_fields.items() if info.is_required()), None)
        given = parse(arguments, first=first, example=tool.example)
        try:
            return tool.model_validate(given).call(self._workspace)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in wrong["loc"])
            what = "is missing" if wrong["type"] == "missing" else f"is wrong: {wrong['msg']}"
            raise BadCallError(f"`{field}` {what}. Send for example {tool.example}.") from None


def _spec(tool: type[Tool]) -> dict[str, Any]:
    schema = tool.model_json_schema()
    properties = {
        name: {key: value for key, value in part.items() if key != "title"}
        for name, part in schema["properties"].items()
    }
    parameters = {"type": "object", "properties": properties, "required": schema.get("required", [])}
    description = inspect.cleandoc(tool.__doc__ or "")
    return {"type": "function", "function": {"name": tool.name, "description": description, "parameters": parameters}}


def _line(entry: Entry) -> str:
    name = entry.name if entry.name.isprintable() else repr(entry.name)
    match entry.kind:
        case "folder":
            return f"{name}/"
        case "file":
            return f"{name} ({entry.size} bytes)"
        case kind:
            return f"{name} ({kind}, not readable)"


def _window(text: str, start: int) -> str:
    """Return the text from line ``start`` on, as much as is shown at once, and how to go on."""
    if start == 1 and len(text) <= SHOWN_CHARS:
        return text or "(empty file)"
    lines = text.split("\n")
    if start > len(lines):
        raise ToolError(f"The file has {len(lines)} lines. Send a `start` of at most {len(lines)}.")
    shown: list[str] = []
    room = SHOWN_CHARS
    for line in lines[start - 1 :]:
        if shown and len(line) >= room:
            break
        shown.append(line[:room])
        room -= len(shown[-1]) + 1
    last = start + len(shown) - 1
    cut = " (cut short)" if len(lines[start - 1]) > SHOWN_CHARS else ""
    more = f" Go on with start={last + 1}." if last < len(lines) else ""
    return "\n".join(shown) + f"\n[lines {start} to {last} of {len(lines)}{cut}.{more}]"
