import json
from collections import deque
from types import MappingProxyType
from typing import cast

import pytest

from concierge.chat.port import ChatOptions
from concierge.chat.request import encode, mend, other_spelling, request_body, route, spell
from concierge.endpoint import Dialect, Endpoint


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1/chat/completions"),
        ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434/v1/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("http://user:word@host/v1", "http://host/v1/chat/completions"),
        (
            "https://res.openai.azure.com/openai/v1/",
            "https://res.openai.azure.com/openai/v1/chat/completions",
        ),
        ("https://res.openai.azure.com", "https://res.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://res.openai.azure.com/openai/v1?api-version=preview",
            "https://res.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "https://res.openai.azure.com/openai/deployments/dep?api-version=2025-01-01",
            "https://res.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2025-01-01",
        ),
        (
            "https://res.openai.azure.com/openai/deployments/dep",
            "https://res.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://res.openai.azure.com/?api-version=2025-01-01",
            "https://res.openai.azure.com/openai/deployments/my%2Fmodel/chat/completions?api-version=2025-01-01",
        ),
    ],
)
def test_requests_go_where_the_base_url_says(base_url: str, url: str) -> None:
    assert route(Endpoint(base_url, "m")).url("my/model") == url


@pytest.mark.parametrize(
    ("base_url", "dialect", "limit", "header"),
    [
        ("http://127.0.0.1:11434/v1", "generic", "max_tokens", "Authorization"),
        ("https://api.openai.com/v1", "openai", "max_completion_tokens", "Authorization"),
        ("https://res.services.ai.azure.com/openai/v1", "azure", "max_completion_tokens", "api-key"),
        ("https://res.openai.azure.com/openai/deployments/d", "azure", "max_tokens", "api-key"),
        ("https://api.openai.com.evil.example/v1", "generic", "max_tokens", "Authorization"),
    ],
)
def test_well_known_hosts_are_recognised(base_url: str, dialect: Dialect, limit: str, header: str) -> None:
    endpoint = Endpoint(base_url, "m", "key")
    found = route(endpoint)
    assert (endpoint.dialect, found.limit_name) == (dialect, limit)
    assert endpoint.authorization == (header, "key" if header == "api-key" else "Bearer key")


def test_a_dialect_that_is_given_wins() -> None:
    assert route(Endpoint("http://gateway.example/v1", "m", dialect="openai")).limit_name == "max_completion_tokens"


OPENAI = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
AZURE = "Unrecognized request argument supplied: max_completion_tokens"


@pytest.mark.parametrize(
    ("refusal", "sent", "expected"),
    [
        (OPENAI, {"max_tokens": 5}, {"max_tokens": "max_completion_tokens"}),
        (AZURE, {"max_completion_tokens": 5}, {"max_completion_tokens": "max_tokens"}),
        ("Extra inputs are not permitted: body.stream_options", {"stream_options": {}}, {"stream_options": None}),
        ("Unsupported parameter: 'stop' is not supported with this model.", {"stop": ["#"]}, {"stop": None}),
        (OPENAI, {"messages": []}, {}),
        ("max_tokens is too large: 100000", {"max_tokens": 100000}, {}),
        ("Unknown model", {"max_tokens": 5}, {}),
    ],
)
def test_a_refused_parameter_has_another_spelling(
    refusal: str, sent: dict[str, object], expected: dict[str, str | None]
) -> None:
    assert other_spelling(refusal, sent, {}) == expected


def test_a_parameter_is_swapped_once_and_not_back() -> None:
    known: dict[str, str | None] = {"max_tokens": "max_completion_tokens"}
    assert other_spelling(AZURE, {"max_completion_tokens": 5}, known) == {}


def test_a_body_is_spelled_as_the_server_wants_it() -> None:
    body: dict[str, object] = {"model": "m", "max_tokens": 5, "stream_options": {}}
    spelling: dict[str, str | None] = {"max_tokens": "max_completion_tokens", "stream_options": None}
    assert spell(body, spelling) == {"model": "m", "max_completion_tokens": 5}


def test_what_is_none_is_left_to_the_server() -> None:
    nothing: ChatOptions = {"temperature": None, "tools": None, "on_delta": None}
    assert request_body([], "m", nothing, limit_name="max_tokens") == {"model": "m", "messages": [], "stream": False}


def test_options_are_sent_under_the_names_of_the_dialect() -> None:
    options: ChatOptions = {"temperature": 0.0, "top_p": 0.9, "max_tokens": 5, "on_delta": print}
    assert request_body([], "m", options, limit_name="max_completion_tokens") == {
        "model": "m",
        "messages": [],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "top_p": 0.9,
        "max_completion_tokens": 5,
    }


def test_a_choice_among_no_tools_is_not_sent() -> None:
    sent = request_body([], "m", {"tools": [], "tool_choice": "auto"}, limit_name="max_tokens")
    assert not {"tools", "tool_choice"} & sent.keys()
    tools = [{"type": "function"}]
    sent = request_body([], "m", {"tools": tools, "tool_choice": "auto"}, limit_name="max_tokens")
    assert (sent["tools"], sent["tool_choice"]) == (tools, "auto")


def test_an_option_that_does_not_exist_is_the_callers_fault() -> None:
    with pytest.raises(TypeError, match="no option 'temprature'"):
        request_body([], "m", cast(ChatOptions, {"temprature": 1}), limit_name="max_tokens")


def test_any_mapping_and_sequence_can_be_sent() -> None:
    assert encode({"messages": deque([MappingProxyType({"role": "user"})])}) == b'{"messages":[{"role":"user"}]}'


def test_what_is_not_json_is_the_callers_fault() -> None:
    with pytest.raises(TypeError, match="object cannot be sent as JSON"):
        encode({"messages": object()})


def test_text_that_is_not_unicode_is_mended_before_it_is_sent() -> None:
    assert json.loads(encode({"a": "x\udc80", "b": "\ud83d\udc4b", "c": "ü"})) == {"a": "x\ufffd", "b": "👋", "c": "ü"}


@pytest.mark.parametrize(("text", "mended"), [("a", "a"), ("\ud83d\udc4b", "👋"), ("a\ud83d", "a\ufffd"), ("ü", "ü")])
def test_surrogates_are_mended(text: str, mended: str) -> None:
    assert mend(text) == mended
