from __future__ import annotations

import pytest

from concierge.agent.commands import emptied, is_program, keeping, missing_folder, quoted


@pytest.mark.parametrize(
    ("command", "means"),
    [
        ("cat to do.txt", "cat 'to do.txt'"),
        ("cat 'to do.txt' \"to do.txt\"", "cat 'to do.txt' \"to do.txt\""),
        ("echo 'x' >> to do.txt; rm to do.txt", "echo 'x' >> 'to do.txt'; rm 'to do.txt'"),
        ("cat to\\ do.txt", "cat to\\ do.txt"),
        ("cat <<'EOF' > a\nto do.txt\nEOF", "cat <<'EOF' > a\nto do.txt\nEOF"),
        ("cat not to do.txtx", "cat not to do.txtx"),
        ("cat to_do.txt to-do.txt", "cat 'to do.txt' to-do.txt"),
    ],
)
def test_a_bare_name_with_blanks_is_quoted_and_nothing_else(command: str, means: str) -> None:
    assert quoted(command, ["to do.txt", "to-do.txt", "a.txt"]) == means


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("sort a.txt > a.txt", "a.txt"),
        ("grep -v Bob 'the list.txt' > 'the list.txt'", "the list.txt"),
        ("cat a.txt | sort | uniq > a.txt", "a.txt"),
        ("ls; sed s/a/b/ a.txt >a.txt", "a.txt"),
        ("sort a.txt > b.txt && mv b.txt a.txt", ""),
        ("sort a.txt >> a.txt", ""),
        ("echo a.txt > a.txt", ""),
        ("cat a.txt; echo 1 > a.txt", ""),
        ("cat > a.txt <<'EOF'\na.txt\nEOF", ""),
        ("cat 'a.txt", ""),
    ],
)
def test_a_command_that_empties_what_it_reads_is_found(command: str, file: str) -> None:
    assert emptied(command) == file


def test_a_folder_that_a_command_needs_and_that_is_missing_is_found() -> None:
    assert missing_folder("cp notes.txt backup/old/notes.txt", {"backup"}.__contains__) == "backup/old"
    assert missing_folder("cp notes.txt backup/notes.txt ../x/y /etc/passwd", {"backup"}.__contains__) == ""


@pytest.mark.parametrize(
    ("text", "program"),
    [("def f():\n    return 1", True), ("#!/usr/bin/env python3\nimport os", True), ("ls -l", False), ("ls", False)],
)
def test_python_is_told_from_a_command(text: str, program: bool) -> None:
    assert is_program(text) is program


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("sort 'a b.txt' | uniq", "sort 'a b.txt' | uniq > new && mv new 'a b.txt'"),
        ("sed s/a/b/ c.txt", "sed -i s/a/b/ c.txt"),
        ("cat c.txt 'a b.txt'", ""),
        ("ls", ""),
        ("sort c.txt > d.txt", ""),
    ],
)
def test_how_to_keep_what_was_printed_is_told_where_it_is_clear(command: str, kept: str) -> None:
    assert keeping(command, ["a b.txt", "c.txt"]) == kept
