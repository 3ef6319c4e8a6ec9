from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from concierge import net
from concierge.endpoint import Endpoint
from concierge.errors import ConfigError, EndpointError, FetchError
from concierge.net import web

FILE = "https://huggingface.co/owner/gated/resolve/0/model.gguf"
BYTES = "https://cdn.invalid/blob"


def shown(url: str, environ: dict[str, str]) -> list[tuple[str, str | None]]:
    """Return which hosts a request for ``url`` came to, with what they saw of the token."""
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        return httpx.Response(302, headers={"location": BYTES}) if str(request.url) != BYTES else httpx.Response(200)

    transport = httpx.MockTransport(answer)
    with httpx.Client(transport=transport, auth=net.auth(environ), follow_redirects=True) as client:
        client.get(url)
    return seen


def test_the_token_is_shown_to_the_hub_and_not_to_where_the_bytes_are() -> None:
    assert shown(FILE, {"HF_TOKEN": " hf_secret\n"}) == [("huggingface.co", "Bearer hf_secret"), ("cdn.invalid", None)]


@pytest.mark.promise("S16")
@pytest.mark.parametrize(
    "url",
    [
        FILE.replace("huggingface.co", "mirror.invalid"),
        FILE.replace("huggingface.co", "huggingface.co.invalid"),
        FILE.replace("https", "http"),
    ],
)
def test_no_other_host_sees_the_token(url: str) -> None:
    assert {token for _, token in shown(url, {"HF_TOKEN": "hf_secret"})} == {None}


@pytest.mark.parametrize("token", ["", "  ", "hf_ä", "hf_\nX-Other: 1"])
def test_what_cannot_be_a_token_is_not_sent(token: str) -> None:
    assert shown(FILE, {"HF_TOKEN": token})[0] == ("huggingface.co", None)


def test_the_address_of_the_hub_is_the_one_that_its_own_client_takes() -> None:
    assert net.base({}) == "https://huggingface.co"
    assert net.base({"HF_ENDPOINT": ""}) == "https://huggingface.co"
    assert net.base({"HF_ENDPOINT": "https://mirror.invalid/hf/"}) == "https://mirror.invalid/hf"


def test_an_address_without_encryption_is_refused() -> None:
    with pytest.raises(ConfigError, match="only believed over https"):
        net.base({"HF_ENDPOINT": "http://mirror.invalid"})


def test_requests_are_made_here_and_nowhere_else() -> None:
    source = Path(net.__file__).parents[1]
    makers = re.compile(
        r"httpx\.(Async)?(Client|HTTPTransport|get|post|stream|request)\(|create_connection|urlopen|http\.client"
    )
    made = {str(path.relative_to(source)) for path in source.rglob("*.py") if makers.search(path.read_text("utf-8"))}
    assert made == {"net/near.py", "net/web.py"}


@pytest.mark.parametrize(
    ("url", "mirror", "there"),
    [
        ("https://huggingface.co/o/r/resolve/c/f", "https://m.invalid/hf/", "https://m.invalid/hf/o/r/resolve/c/f"),
        (
            "https://huggingface.co/o/r/resolve/c/f",
            "http://lan.invalid:8080",
            "http://lan.invalid:8080/o/r/resolve/c/f",
        ),
        ("https://huggingface.co/o/r/resolve/c/f", "", "https://huggingface.co/o/r/resolve/c/f"),
        ("https://huggingface.company/f", "https://m.invalid", "https://huggingface.company/f"),
        ("https://github.com/o/r/f", "https://m.invalid", "https://github.com/o/r/f"),
    ],
)
def test_pinned_files_of_the_hub_are_had_from_its_mirror(url: str, mirror: str, there: str) -> None:
    assert net.mirrored(url, {"HF_ENDPOINT": mirror}) == there


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "https_proxy"),
        ({"ALL_PROXY": "socks5://p:1"}, "ALL_PROXY"),
        ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "HTTPS_PROXY"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.org"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "HTTPS_PROXY"),
        ({}, None),
    ],
)
def test_the_variable_whose_proxy_carries_a_request_is_known(environ: dict[str, str], name: str | None) -> None:
    assert net.proxy("https://example.org/file", environ) == name


def test_what_stands_in_the_way_is_said_without_its_password() -> None:
    said = net.way("https://m.invalid/f", {"HF_ENDPOINT": "https://m.invalid", "ALL_PROXY": "http://me:word@p:1"})
    assert "mirror that HF_ENDPOINT names" in said
    assert "ALL_PROXY" in said
    assert "word" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("ALL_PROXY", "socks://127.0.0.1:9/"),
        ("https_proxy", "socks5h://127.0.0.1:9/"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:9/"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    # The HTTP library reads the process's own environment.
    monkeypatch.setenv(name, value)
    with pytest.raises(FetchError) as download:
        web.downloads({name: value}, follow_redirects=True)
    there = Endpoint("http://llm.invalid/v1", "m")
    with pytest.raises(EndpointError) as conversation:
        web.conversation(there, headers={}, timeout=httpx.Timeout(1), limits=httpx.Limits())
    for caught in (download, conversation):
        assert caught.value.where == name
        assert name in caught.value.what
    near = Endpoint("http://127.0.0.1:1/v1", "m")
    assert web.conversation(near, headers={}, timeout=httpx.Timeout(1), limits=httpx.Limits())
