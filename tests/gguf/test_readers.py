from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.errors import ArtefactError, FetchError
from concierge.gguf.header import read_header
from concierge.gguf.readers import FileReader, HttpReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT = b"GGUF" + (3).to_bytes(4, "little") + bytes(16) + bytes(1_000_000)
URL = "https://models.invalid/file.gguf"


def client(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(handler))


def ranges(request: httpx.Request) -> httpx.Response:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"])
    assert found is not None
    begin, end = int(found[1]), int(found[2])
    if begin >= len(CONTENT):
        return httpx.Response(416)
    return httpx.Response(206, content=CONTENT[begin : end + 1])


def test_a_file_is_read_by_position(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"0123456789")
    assert FileReader(path).read(3, 4) == b"3456"
    assert FileReader(path).read(8, 9) == b"89"


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read") as raised:
        FileReader(tmp_path / "none.gguf").read(0, 4)
    assert raised.value.where == str(tmp_path / "none.gguf")


def test_only_the_beginning_of_a_remote_file_is_fetched() -> None:
    fetched: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        fetched.append(request.headers["Range"])
        return ranges(request)

    with client(handler) as http:
        assert read_header(HttpReader(http, URL), name=URL).metadata == {}
    assert fetched == ["bytes=0-262143"]


def test_a_redirect_to_the_store_of_the_files_is_followed() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "models.invalid":
            return httpx.Response(302, headers={"Location": "https://cdn.invalid/blob"})
        return ranges(request)

    with client(handler) as http:
        assert HttpReader(http, URL).read(0, 4) == b"GGUF"


def test_nothing_stands_behind_the_end() -> None:
    with client(ranges) as http:
        assert HttpReader(http, URL).read(len(CONTENT) + 1, 10) == b""


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_a_server_that_does_not_answer_with_the_range_is_refused(status: int) -> None:
    with client(lambda _: httpx.Response(status, content=CONTENT)) as http, pytest.raises(FetchError) as raised:
        HttpReader(http, URL).read(0, 4)
    assert f"answered {status}" in str(raised.value)


def test_a_server_that_sends_more_than_asked_is_cut_off() -> None:
    with client(lambda _: httpx.Response(206, content=CONTENT)) as http:
        assert len(HttpReader(http, URL).read(0, 10)) == 10


def test_a_network_that_is_down_is_a_sentence() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    with client(handler) as http, pytest.raises(FetchError, match="cannot be fetched: no route"):
        HttpReader(http, URL).read(0, 4)
