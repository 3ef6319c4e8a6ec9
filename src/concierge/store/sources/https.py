"""Files from the web, resumed where they broke off."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concierge import net
from concierge.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx

    from concierge.catalog.types import Artefact, Source
    from concierge.store.progress import Meter

TRIES = 5
"""Attempts in a row that bring nothing."""

MOST_TRIES = 500
"""Attempts in all: a line that breaks every few megabytes still brings the largest model."""

LONGEST_PAUSE_S = 120.0
"""The most that a server may ask to be left alone for; one that asks for longer is asked again all the same."""

_CREDENTIALS = re.compile(r"//[^/@]*@")
_NOT_THAT_RANGE = 416
RETRY_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))


def _client() -> httpx.Client:
    from concierge.net import web

    # Release assets live behind redirects.
    return web.downloads(os.environ, follow_redirects=True)


def mirrored(source: Source, environ: Mapping[str, str]) -> Source:
    """Return where the bytes of ``source`` are had in this environment."""
    if source.kind != "https":
        return source
    return source.model_copy(update={"url": net.mirrored(source.url, environ)})


@dataclass(frozen=True, slots=True)
class Https:
    """Downloads a URL with ``Range`` requests, a bounded number of times."""

    client: Callable[[], httpx.Client] = field(default=_client)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    pause: Callable[[float], None] = field(default=time.sleep)

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        """Leave the file in ``folder``."""
        import httpx

        assert source.kind == "https"
        file = folder / artefact.name
        cause, vain, wait = "", 0, 0.0
        with self.client() as client:
            for _ in range(MOST_TRIES):
                have = _size(file)
                try:
                    if self._attempt(client, source.url, file, artefact.size, meter):
                        return file
                    cause, wait = f"it ended after {_size(file)} of {artefact.size} bytes", 0.0
                except httpx.HTTPStatusError as error:
                    cause = str(error)
                    wait = min(net.retry_after(error.response.headers, time.time()) or 0.0, LONGEST_PAUSE_S)
                except httpx.HTTPError as error:
                    cause, wait = str(error) or type(error).__name__, 0.0
                # What gets on is no failure, however often it breaks.
                vain = 0 if _size(file) > have else vain + 1
                if vain == TRIES:
                    break
                self.pause(max(wait, 2.0 ** max(vain - 1, 0)))
        hint = " ".join(filter(None, (net.way(source.url, self.environ), _HINT)))
        raise FetchError(f"{_shown(source.url)} did not arrive: {_shown(cause)}.", where=_shown(source.url), hint=hint)

    def _attempt(self, client: httpx.Client, url: str, file: Path, size: int, meter: Meter) -> bool:
        """Fetch what is missing; return whether the file has its size now."""
        have = _size(file)
        if have >= size:
            return True
        # Without a coding the ranges count the bytes of the file itself.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code in RETRY_STATUSES:
                response.raise_for_status()
            if response.status_code == _NOT_THAT_RANGE and have:
                # It has another file there, or had one: what is here is no beginning of it.
                file.unlink()
                return False
            if response.status_code >= 400:
                hint = _GATED if response.status_code in (401, 403) else net.way(url, self.environ) or _HINT
                raise FetchError(f"{_shown(url)} answers {response.status_code}.", where=_shown(url), hint=hint)
            # A server that ignores the range sends everything again: what is here already is passed over.
            resumed = response.status_code == 206 and _starts_at(response, have)
            done = have if resumed else 0
            with file.open("ab") as out:
                # In the pieces that arrive: one that is gathered first would be lost where the connection breaks.
                for chunk in response.iter_bytes():
                    out.write(chunk[max(have - done, 0) :])
                    done += len(chunk)
                    meter.at(done)
                    if done > size:
                        break
        return done >= size


_GATED = "It wants an account: accept the licence on the model's page and set HF_TOKEN, or choose another model."
_HINT = "Check the network (HTTPS_PROXY and SSL_CERT_FILE are used), then run it again."


def _shown(text: str) -> str:
    """Return what names an address without its credentials."""
    return _CREDENTIALS.sub("//", text)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _starts_at(response: httpx.Response, offset: int) -> bool:
    content_range: str = response.headers.get("Content-Range", "")
    return content_range.startswith(f"bytes {offset}-")
