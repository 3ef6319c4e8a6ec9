import pytest

from concierge.chat.failure import parse_failure, retry_after


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


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_the_wait_that_a_server_asks_for_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=10.0) == seconds
