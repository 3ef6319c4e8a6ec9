"""Files from the web, resumed where they broke off."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from concierge.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

    from concierge.catalog.types import Artefact, Source
    from concierge.store.progress import Meter

TRIES = 5
RETRY_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))


def _client() -> httpx.Client:
    from concierge.net import web

    # Release assets live behind redirects.
    return web.downloads(os.environ, follow_redirects=True)


@dataclass(frozen=True, slots=True)
class Https:
    """Downloads a URL with ``Range`` requests, a bounded number of times."""

    client: Callable[[], httpx.Client] = field(default=_client)
    pause: Callable[[float], None] = field(default=time.sleep)

    def __call__(self, source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        """Leave the file in ``folder``."""
        import httpx

        assert source.kind == "https"
        file = folder / artefact.name
        cause = ""
        with self.client() as client:
            for attempt in range(TRIES):
                if attempt:
                    self.pause(2.0 ** (attempt - 1))
                try:
                    if self._attempt(client, source.url, file, artefact.size, meter):
                        return file
                    cause = f"it ended after {file.stat().st_size} of {artefact.size} bytes"
                except httpx.HTTPError as error:
                    cause = str(error) or type(error).__name__
        raise FetchError(f"{source.url} did not arrive: {cause}.", where=source.url, hint=_HINT)

    def _attempt(self, client: httpx.Client, url: str, file: Path, size: int, meter: Meter) -> bool:
        """Fetch what is missing; return whether the file has its size now."""
        have = file.stat().st_size if file.exists() else 0
        # Without a coding the ranges count the bytes of the file itself.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code in RETRY_STATUSES:
                response.raise_for_status()
            if response.status_code >= 400:
                hint = _GATED if response.status_code in (401, 403) else _HINT
                raise FetchError(f"{url} answers {response.status_code}.", where=url, hint=hint)
            # A server that ignores the range sends everything again: start over rather than append.
            resumed = response.status_code == 206 and _starts_at(response, have)
            done = have if resumed else 0
            with file.open("ab" if resumed else "wb") as out:
                # In the pieces that arrive: one that is gathered first would be lost where the connection breaks.
                for chunk in response.iter_bytes():
                    out.write(chunk)
                    done += len(chunk)
                    meter.at(done)
                    if done > size:
                        break
        return done >= size


_GATED = "It wants an account: accept the licence on the model's page and set HF_TOKEN, or choose another model."
_HINT = "Check the network (HTTPS_PROXY and SSL_CERT_FILE are used), then run it again."


def _starts_at(response: httpx.Response, offset: int) -> bool:
    content_range: str = response.headers.get("Content-Range", "")
    return content_range.startswith(f"bytes {offset}-")
