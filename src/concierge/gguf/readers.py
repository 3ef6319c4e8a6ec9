"""Where a GGUF header can be read from: a file on this machine, or a URL that answers range requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from concierge.errors import ArtefactError, FetchError

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

# A server that ignores the range sends the whole file, which may be many gigabytes.
_PARTIAL = 206


@dataclass(frozen=True, slots=True)
class FileReader:
    """A file on this machine."""

    path: Path

    def read(self, offset: int, size: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise ArtefactError(
                f"The model file cannot be read: {error.strerror or error}.",
                where=str(self.path),
                hint="Check that the path exists and that you may read it.",
            ) from error


@dataclass(frozen=True, slots=True)
class HttpReader:
    """A URL; only the ranges that are asked for cross the network."""

    client: httpx.Client
    url: str

    def read(self, offset: int, size: int) -> bytes:
        import httpx

        wanted = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        try:
            with self.client.stream("GET", self.url, headers=wanted, follow_redirects=True) as answer:
                if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return b""
                if answer.status_code != _PARTIAL:
                    raise FetchError(
                        f"The server answered {answer.status_code} to a request for a part of the file.",
                        where=self.url,
                        hint="Name a file that is served by byte ranges, or a path on this machine.",
                    )
                return _at_most(answer, size)
        except httpx.HTTPError as error:
            raise FetchError(
                f"The model's header cannot be fetched: {error or type(error).__name__}.",
                where=self.url,
                hint="Check the network, or name a path on this machine.",
            ) from error


def _at_most(answer: httpx.Response, size: int) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) >= size:
            break
    return bytes(body[:size])
