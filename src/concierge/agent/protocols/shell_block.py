"""One fenced shell command a turn; an answer without one ends. The easiest form for small models."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

from concierge.agent.protocols import in_text
from concierge.agent.protocols.port import OWN, Name, Reading, line, names
from concierge.agent.protocols.prompts import prompt
from concierge.chat.port import ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from concierge.agent.events import Replied, ToolReturned
    from concierge.agent.protocols.port import Spec
    from concierge.chat.port import ChatOptions, Message, Reply

_BLOCK = re.compile(r"```(\w*)[ \t]*\n(.*?)\n?[ \t]*(?:```|\Z)", re.DOTALL)
_WHOLE = re.compile(
    r"^[ \t*#`]*(?P<file>[\w.-][\w ./-]*\.[A-Za-z]\w{0,5})[*`]*:?[*`]*[ \t]*\n+"
    r"```(?!(?:bash|sh|shell|zsh|console|terminal)\n)\w*[ \t]*\n(?P<text>.*?)\n?[ \t]*(?:```|\Z)",
    re.MULTILINE | re.DOTALL,
)
"""A file's name on a line of its own, and a block behind it: what is to stand in the file."""
_FILE = re.compile(r"(?!\./)[\w/-]+\.(?!sh$|py$|exe$)\w{1,5}")
_BARE = re.compile(
    r"(?:\$ )?(?:awk|cat|cp|cut|echo|find|grep|head|ls|mkdir|mv|printf|python3|rm|sed|sort|tail|touch|wc) .*[^.!?:]"
)
"""A line that is a command although nothing fences it, and no sentence that begins with the same word."""
_LABELS = ("bash", "sh", "shell", "zsh", "console", "terminal")
_SHELLS = ("", *_LABELS)
_PYTHON = ("python", "python3", "py")


OTHERS = """There are tools beside the shell. To call one, write its name and its arguments in a block of its own:

```json
{"name": "…", "arguments": {…}}
```

Tools:"""


class ShellBlock:
    """A model that writes shell commands like prose."""

    name: Name = "shell"
    how = "with one command in a ```bash block"

    def taught(self, tools: Sequence[Spec]) -> tuple[Message, ...]:
        """Return the system text, with the tools of other programs, one a line, and an example as turns."""
        others = [tool for tool in tools if tool["function"]["name"] not in OWN]
        if not others:
            return prompt("shell")
        system, *examples = prompt("shell")
        return (
            {"role": "system", "content": "\n".join([system["content"], "", OTHERS, *map(line, others)])},
            *examples,
        )

    def options(self, tools: Sequence[Spec]) -> ChatOptions:
        """Return where to stop: a model that goes on behind its command imagines the output."""
        return {"stop": ["\nOutput:"]}

    def read(self, reply: Reply, tools: Sequence[Spec], *, last: str) -> Reading:
        """Return the first command of a reply; what the model imagines behind it is left out."""
        text = _fenced(reply)
        if (whole := _WHOLE.search(text)) and not _quoted("", whole["text"], last):
            write = f"cat > {shlex.quote(whole['file'])} <<'END_OF_FILE'\n{whole['text']}\nEND_OF_FILE"
            return _run(write, text[: whole.end()])
        others = [name for name in names(tools) if name not in OWN]
        for match in _BLOCK.finditer(text):
            # The shell has no such program; a small model writes everything into the block that it knows.
            if calls := in_text.find(match[2], others)[0]:
                return Reading(text[: match.start()].strip(), calls, in_text=True)
            command = _command(match[1].lower(), match[2])
            if command and _quoted(match[1], command, last):
                return Reading(self.plain(reply, tools))
            if command:
                return _run(command, text[: match.end()])
        calls, rest = in_text.find(reply, names(tools))
        return Reading(rest, calls, in_text=bool(calls))

    def plain(self, reply: Reply, tools: Sequence[Spec]) -> str:
        """Return what stands around the commands; where that is nothing, what is in them."""
        text = in_text.spoken(reply, names(tools))
        around = _BLOCK.sub(lambda match: "" if match[1].lower() in _LABELS else match[2], text).strip()
        return around or _BLOCK.sub(lambda match: match[2], text).strip()

    def said(self, event: Replied) -> Message:
        """Return what it wrote, as it wrote it."""
        return {"role": "assistant", "content": event.text}

    def result(self, event: ToolReturned) -> Message:
        """Return the output as the user's turn."""
        return {"role": "user", "content": event.text}


def _run(command: str, said: str) -> Reading:
    return Reading(said, (ToolCall("", "shell", json.dumps({"command": command}, ensure_ascii=False)),))


def _fenced(reply: str) -> str:
    """Return the reply with the fence that small models forget: they begin with the command, and some end its block."""
    said = reply.strip()
    if said.count("```") == 1 and said.endswith("```"):
        return f"```\n{said}"
    return f"```\n{said}\n```" if _BARE.fullmatch(said) else str(reply)


def _quoted(label: str, block: str, last: str) -> bool:
    """Tell whether a block holds what the model has just seen: that is its answer, and no command."""
    return block == _output(last) or (not label and set(block.splitlines()) <= set(last.splitlines()))


def _output(result: str) -> str:
    """Return what a command printed."""
    return re.split(r"\n\[(?:exit code|no file|changed|new|deleted|stopped)", result.removeprefix("Output:\n"))[
        0
    ].strip()


def _command(language: str, block: str) -> str:
    if language in _SHELLS:
        # A prompt sign is copied from examples of sessions.
        command = re.sub(r"(?m)^\$ ", "", block).strip()
        # The name of a file is an answer that was put into a block.
        return "" if _FILE.fullmatch(command) else command
    if language in _PYTHON and block.strip():
        return f"python3 - <<'END_OF_PYTHON'\n{block}\nEND_OF_PYTHON"
    return ""
