from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concierge.api import server as api
from concierge.chat.client import OpenAICompatibleChatClient
from concierge.chat.request import route
from concierge.config.keys import Llm
from concierge.config.sources import load
from concierge.endpoint import Endpoint, is_loopback, read
from concierge.errors import ConfigError
from concierge.paths import Home
from concierge.server.status import status

if TYPE_CHECKING:
    from pathlib import Path

BOTH = ("127.0.0.1", "::1")
NEAR = [
    ("http://localhost:1/v1", "http://localhost:1/v1", BOTH),
    ("http://LOCALHOST:1/v1/", "http://localhost:1/v1", BOTH),
    ("http://localhost.:1", "http://localhost:1", BOTH),
    ("http://x.localhost:1/v1", "http://x.localhost:1/v1", BOTH),
    ("http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1", ("127.0.0.1",)),
    ("http://127.9.9.9:1", "http://127.9.9.9:1", ("127.9.9.9",)),
    ("http://[::1]:1/v1///", "http://[::1]:1/v1", ("::1",)),
    ("http://[0:0:0:0:0:0:0:1]:1/v1", "http://[::1]:1/v1", ("::1",)),
    ("http://[::ffff:127.0.0.1]:1/v1", "http://127.0.0.1:1/v1", ("127.0.0.1",)),
    ("http://0.0.0.0:1/v1", "http://127.0.0.1:1/v1", ("127.0.0.1",)),
    ("http://[::]:1/v1", "http://[::1]:1/v1", ("::1",)),
    ("http://user:word@localhost:1/v1", "http://localhost:1/v1", BOTH),
    ("http://localhost:1/v1/chat/completions", "http://localhost:1/v1", BOTH),
    ("http://localhost:1/v1/chat/completions/chat/completions", "http://localhost:1/v1", BOTH),
    ("http://localhost:1/v1/chat/completions/", "http://localhost:1/v1", BOTH),
    ("  http://localhost:1/v1\n", "http://localhost:1/v1", BOTH),
    ("HTTP://localhost:1/v1?key=secret#part", "http://localhost:1/v1", BOTH),
    ("https://localhost:1", "https://localhost:1", BOTH),
]
FAR = [
    ("https://example.com/v1", "https://example.com/v1"),
    ("https://example.com:443/v1", "https://example.com/v1"),
    ("http://example.com:80", "http://example.com"),
    ("http://example.com:443", "http://example.com:443"),
    ("https://user:word@EXAMPLE.com/v1/", "https://example.com/v1"),
    ("http://127.0.0.1@192.0.2.1/v1", "http://192.0.2.1/v1"),
    ("http://127.0.0.1.example.org/v1", "http://127.0.0.1.example.org/v1"),
    ("http://localhost.example.org", "http://localhost.example.org"),
    ("http://notlocalhost/v1", "http://notlocalhost/v1"),
    ("http://10.0.0.1:8000/v1", "http://10.0.0.1:8000/v1"),
    ("http://[2001:DB8::0:1]/v1", "http://[2001:db8::1]/v1"),
    ("http://gpu_box:8000/v1", "http://gpu_box:8000/v1"),
    ("https://bücher.example/v1", "https://bücher.example/v1"),
    ("https://res.openai.azure.com", "https://res.openai.azure.com"),
    ("https://res.openai.azure.com/openai/v1/?api-version=preview", "https://res.openai.azure.com/openai/v1"),
]
NONE = [
    "",
    "   ",
    "localhost:1",
    "ftp://localhost/v1",
    "http://",
    "http:///v1",
    "http://:1/v1",
    "http://[::1",
    "http://[::1::]/v1",
    "http://127.1:1/v1",
    "http://127.0.0.999:1/v1",
    "http://127.0.0.01:1/v1",
    "http://2130706433:1/v1",
    "http://0x7f.1:1/v1",
    "http://localhost:0/v1",
    "http://localhost:65536/v1",
    "http://localhost:port/v1",
    "http://localhost:-1/v1",
    "http://local host:1/v1",
    "http://localhost:1/v 1",
    "http://localhost:1/v1\nX-Evil: 1",
    "http://localhost:1/\0/v1",
    "http://localhost\\@example.com/v1",
    "http://a..b/v1",
    "http://127.0.0.1%2eexample.org/v1",
    "http://127。0。0。1:1/v1",
]


def seen_near(url: str, home: Path) -> dict[str, bool]:
    """Return who takes the URL for this machine."""
    endpoint, llm = Endpoint(url, "m"), Llm(base_url=url)
    beside = status(Home(home), llm, environ={}).configured
    assert beside is not None
    assert beside.base_url == endpoint.base_url
    return {
        "config": llm.address.loopback,
        "endpoint": endpoint.address.loopback,
        "look and status": beside.presence is not None,
        "api": is_loopback(endpoint.address.host),
    }


@pytest.mark.parametrize(("url", "shown", "hosts"), NEAR)
def test_everybody_takes_this_machine_for_this_machine(
    url: str, shown: str, hosts: tuple[str, ...], tmp_path: Path
) -> None:
    endpoint = Endpoint(url, "m")
    assert set(seen_near(url, tmp_path).values()) == {True}
    assert (endpoint.base_url, str(Llm(base_url=url).address), endpoint.address.hosts) == (shown, shown, hosts)
    assert route(endpoint).url("m").partition("?")[0] == f"{shown}/chat/completions"


@pytest.mark.parametrize(("url", "shown"), FAR)
def test_everybody_takes_another_machine_for_another_machine(url: str, shown: str, tmp_path: Path) -> None:
    endpoint = Endpoint(url, "m")
    assert set(seen_near(url, tmp_path).values()) == {False}
    assert (endpoint.base_url, str(Llm(base_url=url).address)) == (shown, shown)
    assert endpoint.address.hosts == (endpoint.address.host,)


@pytest.mark.parametrize("url", NONE)
def test_everybody_refuses_what_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint(url, "m")
    assert caught.value.where == "llm.base_url"
    with pytest.raises(ConfigError, match=r"llm\.base_url"):
        load({("llm", "base_url"): url}, environ={"HOME": str(tmp_path)}, folder=tmp_path)
    with pytest.raises(ConfigError):
        status(Home(tmp_path), Llm(base_url=url), environ={})


@settings(deadline=None)
@given(st.text())
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    for url in (text, f"http://{text}", f"http://localhost{text}"):
        try:
            address = read(url)
        except ValueError:
            continue
        assert read(str(address)) == replace(address, query="", user="")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "box.local", "127.1", "127.0.0.999", "[::1]"])
def test_who_listens_there_can_be_reached_by_others_for_all_we_know(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "x.localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_who_listens_there_is_reached_by_nobody_else(host: str) -> None:
    with api.listen(host, 0, token_chosen=False) as listener:
        assert is_loopback(listener.getsockname()[0])


# What may be shown, and what may be sent


def test_a_copy_keeps_what_is_not_shown() -> None:
    endpoint = Endpoint("http://user:wo%3Frd@host/v1?api-version=1", "m")
    copy = replace(endpoint, model="other", owned=True)
    assert (copy.address.user, copy.address.query) == ("user:wo%3Frd", "api-version=1")
    assert replace(endpoint, base_url="http://elsewhere/v1").authorization is None


def test_what_is_not_shown_is_in_no_text_of_it() -> None:
    endpoint = Endpoint("http://user:word@host/v1?key=secret", "m", "sekret")
    for shown in (str(endpoint), repr(endpoint), repr(endpoint.address), f"{endpoint.address}", endpoint.base_url):
        assert "host/v1" in shown or "host='host'" in shown
        assert not any(hidden in shown for hidden in ("user", "word", "secret", "sekret"))


def test_the_root_is_the_same_server_with_the_same_key() -> None:
    root = Endpoint("http://user:word@localhost:1/deep/v1?a=b", "m").root
    assert root.base_url == "http://localhost:1"
    assert (root.address.user, root.address.query) == ("user:word", "a=b")


def test_credentials_of_the_url_are_sent_as_such_and_kept_secret() -> None:
    endpoint = Endpoint("http://user:w%C3%B6rd@host/v1", "m")
    assert endpoint.authorization == ("Authorization", "Basic dXNlcjp3w7ZyZA==")
    assert set(endpoint.secrets) == {"w%C3%B6rd", "wörd", "dXNlcjp3w7ZyZA=="}


def test_a_key_comes_before_credentials_of_the_url() -> None:
    endpoint = Endpoint("http://user:word@host/v1", "m", "key")
    assert endpoint.authorization == ("Authorization", "Bearer key")
    assert endpoint.secrets == ("key",)


def test_without_key_and_credentials_nothing_is_sent_and_nothing_is_secret() -> None:
    assert Endpoint("http://host/v1", "m", " \n").authorization is None
    assert Endpoint("http://host/v1", "m").secrets == ()


def test_what_a_password_in_a_wrong_address_was_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load({("llm", "base_url"): "http://user:word@host:port"}, environ={"HOME": str(tmp_path)}, folder=tmp_path)
    assert "word" not in str(caught.value)
    assert "http://***@host:port" in caught.value.what


# The key


@pytest.mark.parametrize("given", ["key", " key ", "key\n", "\tkey\r\n"])
def test_what_is_kept_secret_is_the_key_as_it_is_sent(given: str, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "CONCIERGE_LLM_API_KEY": given, "ELSEWHERE": given}
    by_value = load(environ=environ, folder=tmp_path).llm
    by_name = Llm(api_key_env="ELSEWHERE")
    for llm in (by_value, by_name):
        endpoint = llm.endpoint(model="m", environ=environ)
        assert endpoint.authorization == ("Authorization", "Bearer key")
        assert endpoint.secrets == ("key",)


@pytest.mark.parametrize("given", ["a\r\nX-Evil: 1", "se\nkret", "se\0kret", "se\x7fkret", "sékret", "s€kret"])
def test_a_key_that_cannot_be_sent_is_refused_where_it_stands_and_never_shown(given: str, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "CONCIERGE_LLM_API_KEY": given}
    with pytest.raises(ConfigError, match="cannot be sent in a header") as at_load:
        load(environ=environ, folder=tmp_path)
    with pytest.raises(ConfigError, match="cannot be sent in a header") as by_name:
        Llm(api_key_env="ELSEWHERE").endpoint(model="m", environ={"ELSEWHERE": given})
    with pytest.raises(ConfigError, match="cannot be sent in a header") as by_hand:
        Endpoint("http://host/v1", "m", given)
    assert at_load.value.where == "CONCIERGE_LLM_API_KEY: llm.api_key"
    assert by_name.value.where == "ELSEWHERE"
    assert by_hand.value.where == "llm.api_key"
    for caught in (at_load, by_name, by_hand):
        assert given not in str(caught.value)
        assert caught.value.hint


def test_a_variable_that_is_not_set_is_no_key() -> None:
    assert Llm(api_key_env="ELSEWHERE").endpoint(model="m", environ={}).api_key is None
    assert Llm().endpoint(model="m", environ={"ELSEWHERE": "key"}).api_key is None


@pytest.mark.parametrize(
    ("url", "dialect", "header"),
    [
        ("https://api.openai.com/v1", "openai", "Authorization"),
        ("https://api.openai.com.evil.example/v1", "generic", "Authorization"),
        ("https://evil-api.openai.com/v1", "generic", "Authorization"),
        ("https://r.openai.azure.com", "azure", "api-key"),
        ("https://r.services.ai.azure.com/v1", "azure", "api-key"),
        ("https://r.cognitiveservices.azure.com/v1", "azure", "api-key"),
        ("https://r.openai.azure.com.evil.example/v1", "generic", "Authorization"),
        ("http://localhost:1/v1", "generic", "Authorization"),
    ],
)
def test_a_host_that_is_known_says_how_it_is_spoken_to(url: str, dialect: str, header: str) -> None:
    endpoint = Endpoint(url, "m", "key")
    assert (endpoint.dialect, endpoint.authorization and endpoint.authorization[0]) == (dialect, header)


def test_a_host_that_no_resolver_could_ever_be_asked_for_is_refused_by_the_client() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        OpenAICompatibleChatClient(Endpoint("http://\N{FULLWIDTH LATIN SMALL LETTER A}.example/v1", "m"))
