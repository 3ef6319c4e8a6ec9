"""Ask the Hugging Face hub for the size and the hash of one file at one commit."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

from concierge import net
from concierge.errors import ConfigError, FetchError
from concierge.gguf.readers import HttpReader

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from concierge.catalog.reference import Hub
    from concierge.gguf.header import Reader

HOPS = 4
"""Redirects within the hub that are followed: a repository that was renamed answers with its new name."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FOUND = (200, 301, 302, 303, 307, 308)
"""Large files are answered with a redirect to where the bytes are; the facts stand in the redirect itself."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """What the hub says of one file at one commit.

    Attributes:
        url: Where the commit's file is; it never changes.
        reader: Reads the file's header without fetching the rest.
    """

    url: str
    size: int
    sha256: str
    licence: str
    gated: bool
    reader: Reader


class HttpHub:
    """The hub, or a mirror that speaks its API, over HTTP; ``client`` may carry a token for gated models."""

    def __init__(self, client: httpx.Client, *, base: str = net.BASE) -> None:
        self._client = client
        self._base = base.rstrip("/")

    def look_up(self, wanted: Hub, file: str) -> HubFile:
        """Return what the hub says of ``file`` at the commit; it must state the hash."""
        url = f"{self._base}/{wanted.repo}/resolve/{wanted.revision}/{quote(file)}"
        answer = self._ask("HEAD", url)
        commit = answer.headers.get("x-repo-commit", wanted.revision)
        if commit != wanted.revision:
            raise ConfigError(
                f"The hub resolves {wanted.revision} of {wanted.repo} to the commit {commit}.",
                where="llm.model",
                hint=f"Write @{commit}.",
            )
        size, sha256 = _linked(answer) or self._listed(wanted, file)
        info = self._info(wanted)
        return HubFile(url, size, sha256, _licence(info), bool(info.get("gated")), HttpReader(self._client, url))

    def _info(self, wanted: Hub) -> dict[str, Any]:
        """Return what is said of the repository; a mirror need not say anything."""
        try:
            info = self._json(f"{self._base}/api/models/{wanted.repo}/revision/{wanted.revision}")
        except ConfigError:
            return {}
        return info if isinstance(info, dict) else {}

    def _listed(self, wanted: Hub, file: str) -> tuple[int, str]:
        """Return size and hash from the commit's file list, for mirrors that leave them out of the redirect."""
        folder = file.rpartition("/")[0]
        place = f"{self._base}/api/models/{wanted.repo}/tree/{wanted.revision}"
        size, sha256 = listed(self._json(f"{place}/{quote(folder)}" if folder else place), file) or (0, None)
        if sha256 is None:
            raise ConfigError(
                f"The hub does not state the sha256 of {file}, so it cannot be pinned.",
                where="llm.model",
                hint="Fetch the file yourself and set llm.model to its path.",
            )
        return size, sha256

    def _json(self, url: str) -> Any:
        answer = self._ask("GET", url)
        try:
            return answer.json()
        except ValueError:
            raise FetchError(f"{url} did not answer with JSON.", where=url) from None

    def _send(self, method: str, url: str) -> httpx.Response:
        """Send a request and follow redirects within the hub, never the one to where the bytes are."""
        import httpx

        try:
            for _ in range(HOPS):
                # Without this a server may compress the body and leave the true size out of the headers.
                identity = {"Accept-Encoding": "identity"}
                answer = self._client.request(method, url, headers=identity, follow_redirects=False)
                place = answer.headers.get("location", "")
                if not answer.has_redirect_location or not place.startswith("/") or place.startswith("//"):
                    break
                url = urljoin(url, place)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            elsewhere = "Lock where it can be reached, or set llm.model to a file of this machine."
            raise FetchError(
                f"The model hub did not answer: {str(error) or type(error).__name__}.",
                where=url,
                hint=f"{net.way(url, os.environ)} {elsewhere}".strip(),
            ) from error
        return answer

    def _ask(self, method: str, url: str) -> httpx.Response:
        answer = self._send(method, url)
        if answer.status_code in _FOUND:
            return answer
        if answer.status_code in (401, 403):
            raise FetchError(
                "The model hub wants an account for this file, or there is no such repository.",
                where=url,
                hint="Accept the licence on the model's page and set HF_TOKEN, or choose another model.",
            )
        if answer.status_code == 404:
            raise ConfigError(
                "The model hub knows no such repository, commit or file.",
                where=url,
                hint="Correct llm.model: hf:OWNER/REPO/FILE.gguf@COMMIT.",
            )
        raise FetchError(f"The model hub answered {answer.status_code}.", where=url, hint="Try again later.")


def listed(entries: Any, file: str) -> tuple[int, str | None] | None:
    """Return size and sha256 of ``file`` as a repository's file list has them; git keeps small files without a hash."""
    for entry in entries if isinstance(entries, list) else []:
        if entry.get("path") == file:
            large = entry.get("lfs") or {}
            oid = str(large.get("oid"))
            return int(large.get("size", entry.get("size", 0))), oid if _SHA256.fullmatch(oid) else None
    return None


def _linked(answer: httpx.Response) -> tuple[int, str] | None:
    """Return size and hash from the headers, which state the sha256 for large files only."""
    etag = answer.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
    size = answer.headers.get("x-linked-size", "")
    return (int(size), etag) if _SHA256.fullmatch(etag) and size.isdigit() else None


def _licence(info: Mapping[str, Any]) -> str:
    card = info.get("cardData")
    said = card if isinstance(card, dict) else {}
    named = said.get("license")
    # A licence that is none of the common ones has its name beside it.
    own = said.get("license_name") if named == "other" else None
    return next((word for word in (own, named) if isinstance(word, str)), "")
