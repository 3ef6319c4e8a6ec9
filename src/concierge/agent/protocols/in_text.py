"""Calls that arrive in the text of an answer, in every spelling that families of models use.

Only calls of tools that are offered count: an example in prose is none. Sources: the chat templates of Qwen and Hermes
(``<tool_call>``), Llama (``<|python_tag|>``), Mistral (``[TOOL_CALLS]``), LFM (``<|tool_call_start|>``), Qwen Coder
(``<function=…>``), and what small models write instead of all of these: fenced or bare JSON, and ``read {…}``.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from concierge import jsontext
from concierge.chat.port import ToolCall

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_TAGS = re.compile(
    r"<tool_call>(.*?)(?:</tool_call>|\Z)|<\|tool_call_start\|>(.*?)(?:<\|tool_call_end\|>|\Z)"
    r"|<\|python_tag\|>(.*)|\[TOOL_CALLS\](.*)",
    re.DOTALL,
)
_FUNCTION = re.compile(r"<function=(\w+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=(\w+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_NAMED = re.compile(r"^[\s>*\-\d.]*`?(\w+)`?[:(]?\s*(\{.*)", re.DOTALL)

_NAME_KEYS = ("name", "tool", "tool_name", "function", "action")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "action_input", "kwargs")


def find(text: str, tools: Collection[str]) -> tuple[tuple[ToolCall, ...], str]:
    """Return the calls of ``tools`` that stand in ``text``, in order, and the text without them."""
    for pattern in (_TAGS, _FUNCTION, _FENCE):
        found = [call for match in pattern.finditer(text) for call in _in(match, tools)]
        if found:
            return tuple(found), _without(pattern, text, tools)
    found = list(_calls(text.strip(), tools))
    return (tuple(found), "") if found else ((), text)


def spoken(text: str, tools: Collection[str]) -> str:
    """Return a text without all calls of ``tools`` in it; empty where what is left tries to be one."""
    calls, text = find(text, tools)
    while calls:
        calls, text = find(text, tools)
    return "" if looks_like_one(text, tools) else text


def looks_like_one(text: str, tools: Collection[str]) -> bool:
    """Tell whether an answer tries to call a tool, and fails: it may mend it, and is no answer."""
    head = text.strip()
    if re.match(r"(```\w*\s*)?[\[{]", head) and re.search(r'"(name|tool|function)"\s*:', head):
        return True
    return bool(_TAGS.search(head) or _FUNCTION.search(head)) or any(
        re.search(rf"^\s*(\d+\.\s*)?{re.escape(tool)}\s*\{{", head, re.MULTILINE) for tool in tools
    )


def _without(pattern: re.Pattern[str], text: str, tools: Collection[str]) -> str:
    return pattern.sub(lambda match: "" if list(_in(match, tools)) else match[0], text).strip()


def _in(match: re.Match[str], tools: Collection[str]) -> Iterator[ToolCall]:
    if match.re is _FUNCTION:
        if match[1] in tools:
            given = {name: _value(value) for name, value in _PARAMETER.findall(match[2])}
            yield ToolCall("", match[1], json.dumps(given, ensure_ascii=False) if given else match[2].strip() or "{}")
        return
    inside = next((group for group in match.groups() if group is not None), "").strip()
    if nested := list(_FUNCTION.finditer(inside)):
        for each in nested:
            yield from _in(each, tools)
        return
    yield from _calls(inside, tools)


def _calls(text: str, tools: Collection[str]) -> Iterator[ToolCall]:
    """Yield the calls that a text consists of: JSON values one after the other, ``name {…}``, or ``[name(a=…)]``."""
    values = list(_values(text))
    if values:
        for value in values:
            yield from _of(value, tools)
        return
    if (named := _NAMED.match(text)) and named[1] in tools:
        first = next(iter(_values(named[2])), None)
        if isinstance(first, dict):
            yield ToolCall("", named[1], json.dumps(first, ensure_ascii=False))
        return
    yield from _bracketed(text, tools)


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values that a text begins with, one after the other; prose ends them."""
    rest = text.strip().lstrip(",; \n")
    while rest[:1] in ("{", "["):
        # A template of Qwen Coder shows its example in doubled braces, and the model writes them.
        rest = rest[1:] if rest.startswith("{{") else rest
        try:
            value, end = jsontext.first(rest, lenient=True)
        except ValueError:
            return
        yield value
        rest = rest[end:].strip().lstrip("},; \n")


def _of(value: Any, tools: Collection[str]) -> Iterator[ToolCall]:
    if isinstance(value, list):
        for each in value:
            yield from _of(each, tools)
        return
    if not isinstance(value, dict):
        return
    inner = value.get("function")
    if isinstance(inner, dict):
        yield from _of(inner, tools)
        return
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str) and value[key] in tools), None)
    if name is not None:
        own = {key: part for key, part in value.items() if key not in (*_NAME_KEYS, "type", "id", "thought")}
        given = next((value[key] for key in _ARGUMENT_KEYS if key in value), own)
        yield ToolCall("", name, given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))
    elif len(value) == 1 and (only := next(iter(value))) in tools and isinstance(value[only], dict):
        yield ToolCall("", only, json.dumps(value[only], ensure_ascii=False))


def _bracketed(text: str, tools: Collection[str]) -> Iterator[ToolCall]:
    """Read calls written as Python: ``[read(path="a.txt")]``."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for call in tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in tools:
            try:
                given = {part.arg: ast.literal_eval(part.value) for part in call.keywords if part.arg}
            except (ValueError, TypeError, RecursionError):
                continue
            if call.args and not given:
                continue
            yield ToolCall("", call.func.id, json.dumps(given, ensure_ascii=False, default=str))


def _value(text: str) -> Any:
    try:
        return jsontext.parse(text) if text.strip()[:1] in ("{", "[") else text
    except ValueError:
        return text
