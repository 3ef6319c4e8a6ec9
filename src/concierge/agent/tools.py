"""The tools that a model may call: a tool's fields are its arguments, its docstring what the model reads."""

from __future__ import annotations

import inspect
import json
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from concierge.agent import passages
from concierge.agent.arguments import BadCallError, parse
from concierge.agent.expected import Expected
from concierge.agent.overview import overview
from concierge.agent.workspace import CONFINED, Entry
from concierge.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.agent.events import CallStatus
    from concierge.agent.foreign import Foreign
    from concierge.agent.place import Place

CALLS_PER_ANSWER = 16
"""A model that asks for more at once has lost its way."""
SHOWN_CHARS = 4000
"""About 1,100 tokens: a small model's context must hold several results beside the task."""


class Tool(BaseModel):
    """A call of one tool, with its arguments checked; ``"5"`` is taken for 5 and 5 for ``"5"``."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    name: ClassVar[str]
    example: ClassVar[str]

    async def call(self, place: Place) -> str:
        """Do it and return the text for the model; a ``ToolError`` says what to send instead."""
        raise NotImplementedError


class Read(Tool):
    """Read a text file."""

    name = "read"
    example = '{"path": "notes.txt"}'

    path: Annotated[str, Field(description="File, relative to the folder")]
    start: Annotated[int, Field(ge=1, description="First line to read")] = 1

    async def call(self, place: Place) -> str:
        return _window(_text(place, self.path), self.start)


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

    async def call(self, place: Place) -> str:
        place.workspace.write(self.path, self.content.encode("utf-8", "replace"))
        return f"Wrote {len(self.content)} characters to {self.path}."


class List(Tool):
    """List a folder's files."""

    name = "list"
    example = '{"path": "."}'

    path: Annotated[str, Field(description="Folder, relative to the folder")] = "."

    async def call(self, place: Place) -> str:
        entries, more = place.workspace.entries(self.path)
        lines = [_line(entry) for entry in entries]
        return "\n".join([*lines, "(and more)"] if more else lines) or "(empty folder)"


class Edit(Tool):
    """Replace a passage of a text file, which must stand in it once."""

    name = "edit"
    example = '{"path": "notes.txt", "old": "Helo", "new": "Hello"}'

    path: Annotated[str, Field(description="File, relative to the folder")]
    old: Annotated[str, Field(min_length=1, description="The passage as it stands in the file")]
    new: Annotated[str, Field(description="What is to stand there instead")]

    async def call(self, place: Place) -> str:
        text = _text(place, self.path)
        start, end = passages.find(text, self.old, path=self.path)
        changed = text[:start] + passages.fitted(text[start:end], self.old, self.new) + text[end:]
        place.workspace.write(self.path, changed.encode("utf-8", "surrogateescape"))
        return f"Changed line {text.count(chr(10), 0, start) + 1} of {self.path}."


class Search(Tool):
    """Find a text in the files below a folder."""

    name = "search"
    example = '{"text": "TODO"}'

    text: Annotated[str, Field(min_length=1, description="What to look for; upper and lower case are the same")]
    path: Annotated[str, Field(description="Folder, relative to the folder")] = "."

    async def call(self, place: Place) -> str:
        lines = islice(place.workspace.search(self.text, self.path), FOUND + 1)
        found = [f"{path}:{number}: {line}" for path, number, line in lines]
        if not found:
            raise ToolError(f"{self.text[:80]!r} is in no file there. Look for a shorter text.")
        more = ["[and more: look for a longer text, or in a smaller folder]"] if len(found) > FOUND else []
        return "\n".join([*found[:FOUND], *more])


class Shell(Tool):
    """Run a shell command in the folder."""

    name = "shell"
    example = '{"command": "ls -l"}'

    command: Annotated[str, Field(min_length=1, description="What sh is to run")]

    async def call(self, place: Place) -> str:
        if place.shell is None:
            raise ToolError("There is no shell here. Use the other tools.")
        return await place.shell(self.command)


FOUND = 50
"""Lines that a search shows."""

TOOLS: dict[str, type[Tool]] = {tool.name: tool for tool in (Read, Write, Edit, List, Search, Shell)}


class Tools:
    """The toolbox of one run: its own tools, which touch its place alone, and those of other programs."""

    def __init__(self, place: Place, foreign: Sequence[Foreign] = ()) -> None:
        self._place = place
        self._foreign = {tool.name: tool for tool in foreign}

    @property
    def folder(self) -> str:
        """Where the tools work."""
        return str(self._place.folder)

    def overview(self, task: str) -> str:
        """Return what a model should know of the folder before it begins."""
        return overview(self._place.workspace, task) if CONFINED else ""

    def expected(self, task: str, *, how: str) -> Expected | None:
        """Return what a task makes one expect of the folder, for a model that is told ``how`` it acts."""
        return Expected(self._place.workspace, task, how=how) if CONFINED else None

    def specs(self) -> tuple[dict[str, Any], ...]:
        """Return the tools in the chat-completions format; none of its own where the folder cannot be confined."""
        own = _specs(shell=self._place.shell is not None) if CONFINED else ()
        return (*own, *(tool.spec for tool in self._foreign.values()))

    async def carry_out(self, name: str, arguments: str, *, number: int) -> tuple[CallStatus, str]:
        """Return how the answer's call of that number went, and the text that the model may mend it by."""
        if number > CALLS_PER_ANSWER:
            return "bad_call", f"Error: Too many calls at once. Send at most {CALLS_PER_ANSWER}, then wait."
        try:
            return "ok", await self.call(name, arguments)
        except BadCallError as error:
            return "bad_call", f"Error: {error}"
        except ToolError as error:
            return "error", f"Error: {error}"

    async def call(self, name: str, arguments: str) -> str:
        """Carry out a call as the model wrote it and return the text for the model, or raise what it may mend."""
        if name in self._foreign:
            return await self._foreign[name].call(arguments)
        tool = TOOLS.get(name)
        offered = [spec["function"]["name"] for spec in self.specs()]
        if tool is None or name not in offered:
            raise BadCallError(f"There is no tool {name[:80]!r}. Call one of: {', '.join(offered)}.")
        first = next((field for field, info in tool.model_fields.items() if info.is_required()), None)
        given = parse(arguments, first=first, example=tool.example)
        try:
            made = tool.model_validate(given)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in wrong["loc"])
            what = "is missing" if wrong["type"] == "missing" else f"is wrong: {wrong['msg']}"
            raise BadCallError(f"`{field}` {what}. Send for example {tool.example}.") from None
        return await made.call(self._place)


@cache
def _specs(*, shell: bool) -> tuple[dict[str, Any], ...]:
    return tuple(_spec(tool) for tool in TOOLS.values() if shell or tool is not Shell)


def _text(place: Place, path: str) -> str:
    content = place.workspace.read(path)
    if b"\0" in content:
        raise ToolError(f"{path} is not a text file. Read another one.")
    return content.decode("utf-8", "surrogateescape")


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
    """Return the text from line ``start`` on, as much as is shown at once, and how to go on.

    A line that is longer than that is shown as several, so that all of it can be read.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if start == 1 and len(text) <= SHOWN_CHARS:
        return text or "(empty file)"
    lines = [part for line in text.split("\n") for part in _pieces(line)]
    if start > len(lines):
        raise ToolError(f"The file has {len(lines)} lines. Send a `start` of at most {len(lines)}.")
    shown: list[str] = []
    room = SHOWN_CHARS
    for line in lines[start - 1 :]:
        if shown and len(line) >= room:
            break
        shown.append(line)
        room -= len(line) + 1
    last = start + len(shown) - 1
    more = f" Go on with start={last + 1}." if last < len(lines) else ""
    return "\n".join(shown) + f"\n[lines {start} to {last} of {len(lines)}.{more}]"


def _pieces(line: str) -> list[str]:
    return [line[at : at + SHOWN_CHARS] for at in range(0, len(line), SHOWN_CHARS)] or [""]
