"""Where this user's Ollama listens, as ``OLLAMA_HOST`` says it.

Read as Ollama's own client reads it (``envconfig.Host``): the port may be left out, and is then 11434, 80 for
``http://`` and 443 for ``https://``; blanks and quotes around it are dropped; what is no port becomes the default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge import endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "OLLAMA_HOST"
PORT = "11434"


def base_url(environ: Mapping[str, str]) -> str | None:
    """Return the address of its API on this machine; None where the variable says none, or names another machine."""
    text = environ.get(VARIABLE, "").strip().strip("\"'").strip()
    if not text:
        return None
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "http", text
    default = {"http": "80", "https": "443"}.get(scheme, PORT) if mark else PORT
    place, _, path = rest.partition("/")
    host, port = _split(place, default)
    url = f"{scheme}://{host}:{port}/{path}".rstrip("/") + "/v1"
    try:
        return url if endpoint.read(url).loopback else None
    except ValueError:
        return None


def _split(place: str, default: str) -> tuple[str, str]:
    """Return host and port; an IPv6 address stands in brackets where it has a port."""
    bare = place.strip("[]")
    if bare.count(":") > 1 and "]:" not in place:
        return f"[{bare}]", default
    host, mark, port = place.rpartition(":")
    if not mark:
        host, port = place, default
    valid = port.isascii() and port.isdigit() and int(port) <= 65535
    return host or "127.0.0.1", port if valid else default
