from __future__ import annotations

from concierge.agent.footprint import FILES, LINES, NOTHING, told


def test_what_a_command_changed_is_told_line_by_line() -> None:
    before = {"a": "one\ntwo\nthree\n", "b": "x\n"}
    after = {"a": "one\n2\nthree\n", "c": "new\n"}
    assert told(before, after).splitlines() == ["[changed: a]", "-two", "+2", "[deleted: b]", "[new: c]", "+new"]


def test_a_command_that_left_everything_is_told_so() -> None:
    assert told({"a": "1"}, {"a": "1"}) == NOTHING


def test_a_file_that_lost_all_its_lines_is_pointed_out() -> None:
    assert "none of the old lines of a is left" in told({"a": "one\ntwo\n"}, {"a": "zero\n"})
    assert "none of the old lines" not in told({"a": "one\n"}, {"a": "zero\n"})
    assert "none of the old lines" not in told({"a": "one\ntwo\n"}, {"a": "two\n"})


def test_a_new_file_whose_name_is_nearly_that_of_another_is_pointed_out() -> None:
    before = {"shopping list.txt": "bread\n"}
    assert '[new: Shopping_List.txt, not "shopping list.txt"]' in told(before, before | {"Shopping_List.txt": "eggs\n"})


def test_many_changes_are_cut() -> None:
    lines = told({}, {"a": "1\n" * 100}).splitlines()
    assert len(lines) == LINES + 1
    assert lines[-1] == "[and more]"


def test_of_a_folder_with_too_many_files_nothing_is_told() -> None:
    assert FILES > 0
    assert told(None, {"a": "1"}) == ""
