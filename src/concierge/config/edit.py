"""One key set in a configuration file, everything else in it left as it stands, comments included."""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from concierge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.config.keys import KeyPath


def with_key(text: str, key: KeyPath, value: Any, *, where: Path) -> str:
    """Return the text of a TOML file in which ``key`` is ``value``, and nothing else is different.

    Raises:
        ConfigError: The file is no TOML, or writes that key in a way that is not changed line by line.
    """
    before = _read(text, where)
    lines = text.splitlines()
    start, end = _section(lines, key[:-1])
    line = f"{key[-1]} = {_literal(value)}"
    at = next((n for n in range(start, end) if re.match(rf"\s*{re.escape(key[-1])}\s*=", lines[n])), None)
    if at is not None:
        lines[at] = line + _comment(lines[at])
    elif start == len(lines) and key[:-1]:
        lines += [*([""] if lines else []), f"[{'.'.join(key[:-1])}]", line]
    else:
        lines.insert(start, line)
    end_of_line = "\r\n" if "\r\n" in text else "\n"
    after = end_of_line.join((*lines, ""))
    if _read(after, where) != _set(before, key, value):
        raise ConfigError(
            f"{where} writes `{'.'.join(key)}` over several lines, or as part of another.",
            where=f"{where}: {'.'.join(key)}",
            hint="Change it there by hand.",
        )
    return after


def _comment(line: str) -> str:
    """Return the comment behind a value, with the blanks before it: from the first ``#`` that is not in a text."""
    for match in re.finditer(r"\s*#", line):
        with suppress(tomllib.TOMLDecodeError):
            tomllib.loads(line[: match.start()])
            return line[match.start() :]
    return ""


def _section(lines: list[str], section: KeyPath) -> tuple[int, int]:
    """Return where the lines of a table begin and end; at the end of all where it is not there."""
    heads = [n for n, line in enumerate(lines) if re.match(r"\s*\[", line)]
    if not section:
        return 0, heads[0] if heads else len(lines)
    wanted = rf"\s*\[\s*{re.escape('.'.join(section))}\s*\]"
    start = next((n for n in heads if re.match(wanted, lines[n])), None)
    if start is None:
        return len(lines), len(lines)
    return start + 1, next((n for n in heads if n > start), len(lines))


def _literal(value: Any) -> str:
    """Return a value as TOML writes it; texts, numbers and lists of texts are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def _read(text: str, where: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}", where=str(where)) from None


def _set(document: dict[str, Any], key: KeyPath, value: Any) -> dict[str, Any]:
    if len(key) == 1:
        return {**document, key[0]: value}
    inner = document.get(key[0], {})
    return {**document, key[0]: _set(inner, key[1:], value)}
