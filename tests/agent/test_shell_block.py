from __future__ import annotations

import json

import pytest

from concierge.agent.protocols.port import Reading
from concierge.agent.protocols.shell_block import ShellBlock
from concierge.chat.port import Reply


def read(text: str, *, last: str = "") -> Reading:
    return ShellBlock().read(Reply(text), (), last=last)


def command(reading: Reading) -> str:
    (call,) = reading.calls
    return str(json.loads(call.arguments)["command"])


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nls -l\n```",
        "I look.\n```sh\nls -l\n```\nThen I shall see.",
        "```\n$ ls -l\n```",
        "```bash\nls -l",
        "ls -l\n```",
        "$ ls -l",
        "ls -l",
    ],
)
def test_a_block_of_the_shell_is_a_command_however_it_is_fenced(text: str) -> None:
    assert command(read(text)) == "ls -l"


@pytest.mark.parametrize("name", ["a list.txt:", "**a list.txt**", "`a list.txt`:", "### a list.txt"])
def test_a_block_behind_the_name_of_a_file_is_its_text(name: str) -> None:
    assert command(read(f"{name}\n```\none\ntwo\n```\n")).startswith("cat > 'a list.txt' <<'END_OF_FILE'\none\ntwo\n")


def test_a_file_as_it_stands_is_no_command() -> None:
    assert not read("a.txt:\n```\none\n```", last="The folder holds: a.txt\n\na.txt:\n```\none\n```").calls


def test_only_the_first_command_of_a_reply_counts() -> None:
    reading = read("```bash\nls\n```\nOutput:\na.txt\n```bash\nrm a.txt\n```")
    assert command(reading) == "ls"
    assert "rm" not in reading.text


def test_python_in_a_block_is_run_by_python() -> None:
    assert command(read("```python\nprint(1)\n```")).startswith("python3 - <<'END_OF_PYTHON'\nprint(1)\n")


@pytest.mark.parametrize(
    "text",
    [
        "There are three files.",
        "find is a program that looks for files.",
        "```\nnotes.txt\n```",
        "```json\n[1, 2]\n```",
    ],
)
def test_what_no_shell_can_run_is_an_answer(text: str) -> None:
    assert not read(text).calls


def test_the_output_of_the_last_command_in_a_block_is_an_answer() -> None:
    assert read("```\n42\n```", last="Output:\n42\n[changed a.txt]") == Reading("42")


def test_the_answer_ends_where_a_model_begins_to_imagine_the_output() -> None:
    assert ShellBlock().options(())["stop"] == ["\nOutput:"]
