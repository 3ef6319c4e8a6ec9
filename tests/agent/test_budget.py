from __future__ import annotations

import pytest

from concierge.agent.budget import Budget, GuardStopped, Watch, estimated_tokens
from concierge.agent.task import Limits, Spent
from concierge.chat.port import Reply, Usage

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


def test_a_pause_in_the_repetition_starts_the_count_again() -> None:
    watch = Watch()
    for _ in range(3):
        watch.saw("list", "{}", "a", bad=False)
    watch.saw("read", "{}", "b", bad=False)
    for _ in range(3):
        watch.saw("list", "{}", "a", bad=False)
    with pytest.raises(GuardStopped):
        watch.saw("list", "{}", "a", bad=False)
