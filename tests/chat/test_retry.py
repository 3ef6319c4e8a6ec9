from concierge.chat.retry import NO_RETRY, Backoff, RetryPolicy, may_pass


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def backoff(policy: RetryPolicy, *, clock: Clock | None = None, dice: float = 1.0) -> Backoff:
    return Backoff(policy, clock=clock or Clock(), random=lambda: dice)


def test_pauses_double_up_to_the_cap() -> None:
    waits = backoff(RetryPolicy(attempts=7, first_pause_s=1, longest_pause_s=4))
    assert [waits.pause() for _ in range(7)] == [1, 2, 4, 4, 4, 4, None]


def test_jitter_takes_off_at_most_half() -> None:
    assert backoff(RetryPolicy(first_pause_s=1), dice=0.0).pause() == 0.5
    assert backoff(RetryPolicy(first_pause_s=1), dice=0.5).pause() == 0.75


def test_a_server_that_asks_for_longer_is_obeyed() -> None:
    assert backoff(RetryPolicy()).pause(retry_after=20) == 20


def test_a_pause_beyond_the_time_budget_is_not_made() -> None:
    assert backoff(RetryPolicy(seconds=60)).pause(retry_after=61) is None


def test_a_request_that_took_the_budget_is_not_repeated() -> None:
    clock = Clock()
    waits = backoff(RetryPolicy(seconds=60), clock=clock)
    clock.seconds = 60.0
    assert waits.pause() is None


def test_loading_waits_longer_and_spends_no_attempts() -> None:
    clock = Clock()
    waits = backoff(RetryPolicy(attempts=2, seconds=5, loading_seconds=100, first_pause_s=0.25), clock=clock)
    for _ in range(90):
        pause = waits.pause(loading=True)
        assert pause == 1.0
        clock.seconds += pause
    clock.seconds = 100
    assert waits.pause(loading=True) is None


def test_no_retry_is_none_at_all() -> None:
    assert backoff(NO_RETRY).pause() is None
    assert backoff(NO_RETRY).pause(loading=True) is None


def test_only_statuses_that_may_pass_are_worth_another_try() -> None:
    assert [status for status in (400, 401, 404, 408, 429, 500, 501, 502, 503, 504, 505) if may_pass(status)] == [
        408,
        429,
        500,
        502,
        503,
        504,
    ]
