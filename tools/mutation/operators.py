"""Which changes are worth making: mutmut's own, without those that only change words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from mutmut.mutation import file_mutation, mutators

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS_ONLY = {"__repr__", "__str__"}
"""Functions that only say something."""

SAME_HERE = {"encoding", "strict"}
"""Arguments whose loss no test on this machine can see: UTF-8 is its default, and equal lengths are a promise."""


def narrow() -> None:
    """Have mutmut make no change that only a reader of messages or a type checker could notice."""
    file_mutation.NEVER_MUTATE_FUNCTION_NAMES.update(WORDS_ONLY)
    ours = {mutators.operator_string: keys, mutators.operator_arg_removal: arguments}
    mutators.mutation_operators[:] = [(kind, ours.get(change, change)) for kind, change in mutators.mutation_operators]


def keys(node: cst.BaseString) -> Iterator[cst.BaseString]:
    """Change a string that is a key, a flag or a name; never a sentence. One change each: letter case adds nothing."""
    if not _is_text(node):
        yield from list(mutators.operator_string(node))[:1]


def arguments(call: cst.Call) -> Iterator[cst.Call]:
    """Lose an argument, unless it is a sentence, tells only the type checker something, or is `SAME_HERE`."""
    if isinstance(call.func, cst.Name) and call.func.value == "cast":
        return
    for changed in mutators.operator_arg_removal(call):
        kept = {id(argument) for argument in changed.args}
        if not any(_says_nothing(argument) for argument in call.args if id(argument) not in kept):
            yield changed


def _says_nothing(argument: cst.Arg) -> bool:
    return _is_text(argument.value) or (argument.keyword is not None and argument.keyword.value in SAME_HERE)


def _is_text(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.SimpleString):
        return " " in node.value
    return isinstance(node, cst.FormattedString | cst.ConcatenatedString)
