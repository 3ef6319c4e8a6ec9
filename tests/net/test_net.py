from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from concierge import net
from concierge.errors import ConfigError

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
    with pytest.raises(ConfigError, match="only had over https"):
        net.base({"HF_ENDPOINT": "http://mirror.invalid"})


def test_requests_are_made_here_and_nowhere_else() -> None:
    source = Path(net.__file__).parents[1]
    makers = re.compile(
        r"httpx\.(Async)?(Client|HTTPTransport|get|post|stream|request)\(|create_connection|urlopen|http\.client"
    )
    made = {str(path.relative_to(source)) for path in source.rglob("*.py") if makers.search(path.read_text("utf-8"))}
    assert made == {"net/near.py", "net/web.py"}
