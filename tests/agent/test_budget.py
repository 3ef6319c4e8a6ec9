from __future__ import annotations

import pytest

from concierge.agent.budget import CAPPED_BELOW, Budget, GuardStopped, Watch, check_answer, check_said, estimated_tokens
from concierge.agent.task import Limits, Spent
from concierge.chat.port import Reply, ToolCall, Usage
from concierge.errors import RunStopped

HELLO = [{"role": "user", "content": "Hello."}]


def test_a_large_budget_leaves_the_answers_length_to_the_server() -> None:
    assert Budget(Limits(max_tokens=100_000)).before_asking(HELLO) is None


def test_a_small_budget_is_sent_less_what_the_question_takes() -> None:
    assert Budget(Limits(max_tokens=1000)).before_asking(HELLO) == 1000 - estimated_tokens(HELLO)


def test_a_question_that_the_budget_cannot_hold_is_not_asked() -> None:
    with pytest.raises(GuardStopped) as caught:
        Budget(Limits(max_tokens=5)).before_asking(HELLO)
    assert caught.value.as_dict() | {"what": "", "hint": ""} == {
        "error": "RunStopped", "what": "", "where": None, "hint": "", "exit_code": 1,
        "reason": "max_tokens", "limit": 5, "value": estimated_tokens(HELLO),
    }  # fmt: skip


def test_what_the_server_counted_and_what_was_guessed_add_up() -> None:
    budget = Budget(Limits())
    budget.charge(HELLO, Reply("x", usage=Usage(10, 2)))
    budget.charge(HELLO, Reply("x" * 7))
    assert budget.spent == Spent(10 + estimated_tokens(HELLO), 4, estimated=True)
    assert budget.steps == 2


def test_the_same_call_counts_only_when_its_result_is_the_same_too() -> None:
    watch = Watch()
    for number in range(10):
        watch.saw("list", "{}", str(number), bad=False)


def test_the_last_step_is_taken_and_the_next_is_not() -> None:
    budget = Budget(Limits(max_steps=2))
    for _ in range(2):
        budget.before_asking(HELLO)
        budget.charge(HELLO, Reply("x", usage=Usage(1, 1)))
    with pytest.raises(GuardStopped, match="after 2 steps") as caught:
        budget.before_asking(HELLO)
    assert (caught.value.reason, caught.value.limit, caught.value.value) == ("max_steps", 2, 2)


def test_the_last_token_is_spent_and_the_next_is_not() -> None:
    question = estimated_tokens(HELLO)
    assert Budget(Limits(max_tokens=question + 1)).before_asking(HELLO) == 1
    with pytest.raises(GuardStopped, match=f"at {question} tokens"):
        Budget(Limits(max_tokens=question)).before_asking(HELLO)


@pytest.mark.parametrize(("left", "sent"), [(CAPPED_BELOW - 1, CAPPED_BELOW - 1), (CAPPED_BELOW, None)])
def test_only_a_nearly_spent_budget_is_sent(left: int, sent: int | None) -> None:
    budget = Budget(Limits(max_tokens=left + estimated_tokens(HELLO) + 30))
    budget.charge(HELLO, Reply("x", usage=Usage(10, 20)))
    assert budget.before_asking(HELLO) == sent


def test_everything_that_the_model_wrote_is_guessed() -> None:
    reply = Reply("x" * 7, reasoning="x" * 14, tool_calls=[ToolCall("", "list", text) for text in ("x" * 21, "x" * 28)])
    assert Budget(Limits()).charge(HELLO, reply) == Spent(estimated_tokens(HELLO), 20, estimated=True)


def test_what_is_sent_is_guessed_by_its_length_as_json() -> None:
    assert estimated_tokens([{"a": "b" * 61}, {"a": "b" * 61}]) == 40


def test_a_stop_by_time_names_the_bound_and_what_it_took() -> None:
    stop = Budget(Limits(max_seconds=2.0)).time_spent(2.04321)
    assert (stop.what, stop.reason) == ("The run was stopped after 2.0 s without a result.", "max_seconds")
    assert (stop.limit, stop.value) == (2.0, 2.043)


def test_the_third_bad_call_in_a_row_is_one_too_many() -> None:
    watch = Watch()
    for number, bad in enumerate([True, True, False, True, True]):
        watch.saw("read", "{}", str(number), bad=bad)
    with pytest.raises(GuardStopped, match="3 malformed") as caught:
        watch.saw("read", "{}", "6", bad=True)
    assert (caught.value.reason, caught.value.limit, caught.value.value) == ("bad_calls", 3, 3)


def test_the_fourth_same_call_is_one_too_many() -> None:
    watch = Watch()
    for _ in range(3):
        watch.saw("list", "{}", "a", bad=False)
    with pytest.raises(GuardStopped, match="`list` 4 times") as caught:
        watch.saw("list", "{}", "a", bad=False)
    assert (caught.value.reason, caught.value.limit, caught.value.value) == ("loop", 4, 4)


@pytest.mark.parametrize("other", [("read", "{}", "a"), ("list", "[]", "a"), ("list", "{}", "b")])
def test_another_tool_argument_or_result_is_no_repetition(other: tuple[str, str, str]) -> None:
    watch = Watch()
    for call in [("list", "{}", "a"), ("list", "{}", "a"), ("list", "{}", "a"), other, other, other]:
        watch.saw(*call, bad=False)


@pytest.mark.parametrize(("spent", "reason"), [(99, "length"), (100, "max_tokens"), (101, "max_tokens")])
def test_an_answer_is_cut_off_by_the_budget_only_when_that_is_spent(spent: int, reason: str) -> None:
    budget = Budget(Limits(max_tokens=100))
    reply = Reply("cut", finish_reason="length", usage=Usage(0, spent))
    budget.charge(HELLO, reply)
    with pytest.raises(RunStopped) as caught:
        check_answer(reply, budget)
    assert caught.value.reason == reason


def test_an_empty_answer_says_whether_there_was_thinking() -> None:
    for reasoning, said in (("", "an empty answer."), (" ", "an empty answer."), ("Hm.", "after thinking only.")):
        with pytest.raises(RunStopped, match=said):
            check_said(" \n", reasoning)
    check_said("Yes.", "")
