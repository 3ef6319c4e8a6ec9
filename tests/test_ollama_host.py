"""``OLLAMA_HOST`` as Ollama's own client reads it (``envconfig.Host`` and its tests)."""

from __future__ import annotations

from pathlib import Path

import pytest

from concierge.config.ollama import base_url
from concierge.config.sources import load, named, settings


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", None),
        ("127.0.0.1", "http://127.0.0.1:11434/v1"),
        ("127.0.0.1:1234", "http://127.0.0.1:1234/v1"),
        (":1234", "http://127.0.0.1:1234/v1"),
        ("0.0.0.0", "http://0.0.0.0:11434/v1"),
        ("localhost:8080", "http://localhost:8080/v1"),
        ("http://127.0.0.1", "http://127.0.0.1:80/v1"),
        ("https://127.0.0.1", "https://127.0.0.1:443/v1"),
        ("http://127.0.0.1:1234/ollama", "http://127.0.0.1:1234/ollama/v1"),
        ("[::1]", "http://[::1]:11434/v1"),
        ("[::1]:1337", "http://[::1]:1337/v1"),
        ("::1", "http://[::1]:11434/v1"),
        ("127.0.0.1:66000", "http://127.0.0.1:11434/v1"),
        ("127.0.0.1:-1", "http://127.0.0.1:11434/v1"),
        (' "127.0.0.1:99" ', "http://127.0.0.1:99/v1"),
        ("'127.0.0.1:99'", "http://127.0.0.1:99/v1"),
        ("gpu-box:11434", None),
        ("http://192.0.2.1", None),
        ("not a host", None),
    ],
)
def test_it_is_read_as_its_own_client_reads_it(text: str, url: str | None) -> None:
    assert base_url({"OLLAMA_HOST": text}) == url


def test_it_moves_the_default_and_names_no_server() -> None:
    environ = {"OLLAMA_HOST": "127.0.0.1:99", "HOME": "/nowhere"}
    assert load(environ=environ).llm.base_url == "http://127.0.0.1:99/v1"
    assert not named(settings({}, environ=environ, folder=Path()))
    environ["CONCIERGE_LLM_BASE_URL"] = "http://127.0.0.1:1/v1"
    assert load(environ=environ).llm.base_url == "http://127.0.0.1:1/v1"
    assert named(settings({}, environ=environ, folder=Path()))
