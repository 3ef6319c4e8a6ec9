from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import Request

from concierge import errors
from concierge.api import problems
from concierge.api.problems import ApiError


def told(response: Any) -> dict[str, Any]:
    return dict(json.loads(response.body))


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.UnknownRunError, 404), (errors.UsageError, 400), (errors.ConfigError, 400),
        (errors.TransportError, 502), (errors.ReplyError, 502), (errors.NothingSuitableError, 503),
        (errors.FetchError, 503), (errors.StoreError, 503), (errors.StartError, 503), (errors.EndpointError, 503),
        (errors.InterruptedByUser, 503), (errors.RunError, 500), (errors.ConciergeError, 500),
    ],
)  # fmt: skip
def test_every_kind_of_error_has_its_status_and_is_told_as_everywhere(
    kind: type[errors.ConciergeError], status: int
) -> None:
    error = kind("What.", where="there", hint="Do this.")
    response = problems.response(error)
    assert response.status_code == status
    assert told(response) == {
        "schema": 1, "error": kind.__name__, "what": "What.", "where": "there", "hint": "Do this.",
        "exit_code": kind.exit_code,
    }  # fmt: skip


def test_a_status_that_only_http_knows_comes_with_its_headers() -> None:
    response = problems.response(ApiError("Wait.", status=429, hint="Later.", headers={"Retry-After": "5"}))
    assert (response.status_code, response.headers["Retry-After"]) == (429, "5")
    assert told(response) | {"schema": 0} == {
        "schema": 0, "error": "ApiError", "what": "Wait.", "where": None, "hint": "Later.", "exit_code": 1,
    }  # fmt: skip


def test_a_crash_is_a_500_without_its_insides() -> None:
    response = asyncio.run(problems.HANDLERS[Exception](Request({"type": "http"}), ZeroDivisionError("insides")))
    assert (response.status_code, told(response)["what"]) == (500, "concierge failed.")
