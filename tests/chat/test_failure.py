import pytest

from concierge.chat.failure import Backoff, RetryPolicy, may_pass, parse_failure


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"code":401,"message":"Invalid API Key","type":"authentication_error"}}', "Invalid API Key"),
        (b'{"error":"model not found"}', "model not found"),
        (b'{"error":{"error":{"message":"inner"}}}', "inner"),
        (b'{"detail":"Unauthorized"}', "Unauthorized"),
        (b'{"detail":[{"loc":["body","messages"],"msg":"Field required"}]}', "body.messages: Field required"),
        (b'{"object":"error","message":"flat","type":"BadRequestError","code":400}', "flat"),
        (b'[{"error":{"message":"in a list"}}]', "in a list"),
        (b'{"error":{"code":"DeploymentNotFound","message":"gone","innererror":{"x":1}}}', "gone"),
        (b'{"errors":1}', ""),
        (b'{"error":null}', ""),
        (b'"only text"', "only text"),
        (b"null", ""),
        (b"plain\ttext\nof two lines", "plain text of two lines"),
        (b"<html><head><title>502 Bad\nGateway</title></head><body>nginx</body></html>", "502 Bad Gateway"),
        (b"<h1>It works!</h1>", "It works!"),
        (b"[" * 100_000, "[" * 499 + "…"),
        (b"", ""),
        (b"\xff\xfe", "��"),
    ],
)
def test_the_message_is_found_in_any_form(body: bytes, message: str) -> None:
    assert parse_failure(body).message == message


def test_a_message_cannot_drive_the_terminal_or_fill_it() -> None:
    message = parse_failure(b'{"error":"\\u001b[2Jred\\u0007' + b"x" * 10_000 + b'"}').message
    assert message.startswith("[2Jredxxx")
    assert len(message) == 500


def test_type_code_and_param_are_kept_for_decisions() -> None:
    failure = parse_failure(b'{"error":{"message":"m","type":"t","param":"max_tokens","code":"unsupported_parameter"}}')
    assert failure.words == ("t", "unsupported_parameter", "max_tokens")


def test_a_server_that_loads_its_model_is_recognised() -> None:
    assert parse_failure(b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}').loading


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def backoff(policy: RetryPolicy, *, clock: Clock | None = None, dice: float = 1.0) -> Backoff:
    return Backoff(policy, clock=clock or Clock(), random=lambda: dice)


@pytest.mark.promise("L11")
def test_pauses_double_up_to_the_cap() -> None:
    waits = backoff(RetryPolicy(attempts=7, first_pause_s=1, longest_pause_s=4))
    assert [waits.pause() for _ in range(7)] == [1, 2, 4, 4, 4, 4, None]


def test_jitter_takes_off_at_most_half() -> None:
    assert backoff(RetryPolicy(first_pause_s=1), dice=0.0).pause() == 0.5
    assert backoff(RetryPolicy(first_pause_s=1), dice=0.5).pause() == 0.75


def test_a_server_that_asks_for_longer_is_obeyed() -> None:
    assert backoff(RetryPolicy()).pause(retry_after=20) == 20


@pytest.mark.promise("L12")
def test_a_pause_beyond_the_time_budget_is_not_made() -> None:
    assert backoff(RetryPolicy(seconds=60)).pause(retry_after=61) is None


def test_a_request_that_took_the_budget_is_not_repeated() -> None:
    clock = Clock()
    waits = backoff(RetryPolicy(seconds=60), clock=clock)
    clock.seconds = 60.0
    assert waits.pause() is None


@pytest.mark.promise("L13")
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
    assert backoff(RetryPolicy(attempts=1, loading_seconds=0.0)).pause() is None
    assert backoff(RetryPolicy(attempts=1, loading_seconds=0.0)).pause(loading=True) is None


def test_only_statuses_that_may_pass_are_worth_another_try() -> None:
    assert [status for status in (400, 401, 404, 408, 429, 500, 501, 502, 503, 504, 505) if may_pass(status)] == [
        408,
        429,
        500,
        502,
        503,
        504,
    ]
