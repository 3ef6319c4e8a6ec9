"""What results are judged by. Each returns why the outcome is not what was asked for, and nothing when it is.

Harmless differences pass: blanks at the ends of lines, a missing last newline, prose around an answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.agent.task import Outcome

    Check = Callable[[Outcome], str]

PROGRAM_LIMIT_S = 5.0
"""What a program that a model wrote may take; each of them is done in a tenth of a second when it is right."""
SHOWN = 120
MARK = "value of the check: "


def every(*checks: Check) -> Check:
    """All of them hold; the first that does not says why."""
    return lambda outcome: next((why for check in checks if (why := check(outcome))), "")


def answers(*wanted: str, without: tuple[str, ...] = ()) -> Check:
    """The answer has these words or numbers, and none of those that another question would be answered with."""

    def check(outcome: Outcome) -> str:
        said = _plain(outcome.answer)
        for word in wanted:
            if not _said(word, said):
                return f"the answer lacks {word!r}: {_short(outcome.answer)}"
        for word in without:
            if _said(word, said):
                return f"the answer has {word!r} too: {_short(outcome.answer)}"
        return ""

    return check


def text(path: str, wanted: str, *, case: bool = True) -> Check:
    """The file holds this text."""

    def check(outcome: Outcome) -> str:
        found = _read(outcome.folder, path)
        if found is None:
            return f"there is no file {path}"
        same = _lines(found) == _lines(wanted) if case else _lines(found.lower()) == _lines(wanted.lower())
        return "" if same else f"{path} holds {_short(found)}"

    return check


def lines_in_any_order(path: str, *wanted: str) -> Check:
    """The file's lines are these, in any order; a list's marks and a leading ``./`` do not count."""

    def check(outcome: Outcome) -> str:
        found = _read(outcome.folder, path)
        if found is None:
            return f"there is no file {path}"
        lines = sorted(re.sub(r"^([-*]\s+)?(\./)?", "", line.strip()) for line in found.splitlines() if line.strip())
        return "" if lines == sorted(wanted) else f"{path} holds {_short(found)}"

    return check


def number(path: str, wanted: float) -> Check:
    """The file holds one number, and it is this."""

    def check(outcome: Outcome) -> str:
        found = _read(outcome.folder, path)
        if found is None:
            return f"there is no file {path}"
        numbers = re.findall(r"-?\d+(?:\.\d+)?", found)
        return "" if [float(each) for each in numbers] == [wanted] else f"{path} holds {_short(found)}"

    return check


def document(path: str, wanted: object, *, loosely: bool = False) -> Check:
    """The file holds this JSON; loosely, a number may be written as text."""

    def check(outcome: Outcome) -> str:
        found = _read(outcome.folder, path)
        if found is None:
            return f"there is no file {path}"
        try:
            value = json.loads(found)
        except ValueError:
            return f"{path} is no JSON: {_short(found)}"
        same = _leaves(value) == _leaves(wanted) if loosely else value == wanted
        return "" if same else f"{path} holds {_short(found)}"

    return check


def folder(path: str) -> Check:
    return lambda outcome: "" if (outcome.folder / path).is_dir() else f"there is no folder {path}"


def gone(path: str) -> Check:
    return lambda outcome: f"{path} is still there" if (outcome.folder / path).exists() else ""


def lacks(path: str, *words: str) -> Check:
    """The file is there, and none of these words stands in it."""

    def check(outcome: Outcome) -> str:
        found = _read(outcome.folder, path)
        if found is None:
            return f"there is no file {path}"
        return next((f"{path} still has {word!r}" for word in words if re.search(rf"\b{re.escape(word)}\b", found)), "")

    return check


def prints(path: str, *wanted: str, limit_s: float = PROGRAM_LIMIT_S) -> Check:
    """The Python program ends well, and the words that it prints are these."""

    def check(outcome: Outcome) -> str:
        if not (outcome.folder / path).is_file():
            return f"there is no file {path}"
        ended = _python(outcome.folder, path, limit_s=limit_s)
        if isinstance(ended, str):
            return f"{path}: {ended}"
        words = re.split(r"[\s,\[\]()]+", ended.stdout.strip().strip("[]()"))
        return "" if words == list(wanted) else f"{path} prints {_short(ended.stdout)}"

    return check


def gives(module: str, *pairs: tuple[str, object]) -> Check:
    """Each expression over the names of a Python file has this value."""

    def check(outcome: Outcome) -> str:
        if not (outcome.folder / f"{module}.py").is_file():
            return f"there is no file {module}.py"
        for expression, wanted in pairs:
            code = (
                f"import sys, json; sys.path.insert(0, '.')\nfrom {module} import *\n"
                f"print('\\n' + {MARK!r} + json.dumps({expression}))"
            )
            ended = _python(outcome.folder, "-c", code)
            if isinstance(ended, str):
                return f"{expression}: {ended}"
            _, marked, written = ended.stdout.rpartition(MARK)
            found = json.loads(written) if marked else None
            if not _same(found, wanted):
                return f"{expression} is {found!r}"
        return ""

    return check


def _same(found: object, wanted: object) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float):
        return abs(found - wanted) < 1e-6
    return type(found) is type(wanted) and found == wanted


def _python(where: Path, *arguments: str, limit_s: float = PROGRAM_LIMIT_S) -> subprocess.CompletedProcess[str] | str:
    """Run a program of the folder; return how it ended, or what went wrong in a few words."""
    try:
        ended = subprocess.run(
            [sys.executable, "-B", *arguments],
            cwd=where,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done in {limit_s:g} s"
    if ended.returncode:
        return _short((ended.stderr.strip() or "nothing said").splitlines()[-1])
    return ended


def _read(where: Path, path: str) -> str | None:
    try:
        return (where / path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _lines(found: str) -> list[str]:
    """Return the lines without the blanks at their ends and without empty lines at either end."""
    return [line.rstrip() for line in found.lstrip("\ufeff").strip().splitlines()]


def _leaves(value: object) -> object:
    match value:
        case dict():
            return {key: _leaves(each) for key, each in value.items()}
        case list():
            return [_leaves(each) for each in value]
        case _:
            return str(value)


def _plain(said: str) -> str:
    """Return an answer in lower case, without separators of thousands and without marks of emphasis."""
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", said.lower()).translate(str.maketrans("", "", "*`"))


@cache
def _pattern(word: str) -> re.Pattern[str]:
    """Match the word where it stands alone: 42 is not in 142, 42.5 or 4.42, and is in ``42.`` and ``42.0``."""
    if re.fullmatch(r"-?\d+(\.\d+)?", word):
        end = r"(?:0*(?!\d))" if "." in word else r"(?:\.0+)?(?!\.?\d)"
        return re.compile(rf"(?<![\d.-]){re.escape(word)}{end}")
    before = r"(?<![\d.])" if word[0].isdigit() else r"(?<!\w)"
    return re.compile(rf"{before}{re.escape(word.lower())}(?!\w)")


def _said(word: str, said: str) -> bool:
    return bool(_pattern(word).search(said))


def _short(found: str) -> str:
    return repr(found if len(found) <= SHOWN else f"{found[:SHOWN]}…")
