"""What the environment says about the network: which model hub, who may see its token, which certificates.

Requests are made in two modules and nowhere else: ``near`` asks servers of this machine, ``web`` the rest of the world
and the model. Both take an ``Endpoint``, so that they agree on the address, the header and the certificates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.endpoint import masked
from concierge.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    import httpx

BASE = "https://huggingface.co"


def base(environ: Mapping[str, str]) -> str:
    """Return the hub to ask for facts: ``HF_ENDPOINT`` where it is set, as the hub's own client has it.

    Raises:
        ConfigError: It is not https: what it says of a file is not pinned by anything.
    """
    named = _mirror(environ)
    if named and not named.startswith("https://"):
        raise ConfigError(
            f"HF_ENDPOINT is {masked(named)}, and what a hub says of a model is only believed over https.",
            where="HF_ENDPOINT",
            hint="Set it to an https address, or unset it.",
        )
    return named or BASE


def mirrored(url: str, environ: Mapping[str, str]) -> str:
    """Return where a pinned file of the hub is had: at the mirror that ``HF_ENDPOINT`` names, over http as well.

    Whoever sends pinned bytes is not trusted: their hash decides.
    """
    named = _mirror(environ)
    return f"{named}/{url.removeprefix(BASE).lstrip('/')}" if named and url.startswith(f"{BASE}/") else url


def _mirror(environ: Mapping[str, str]) -> str:
    return environ.get("HF_ENDPOINT", "").strip().rstrip("/")


def way(url: str, environ: Mapping[str, str]) -> str:
    """Return what stands between this machine and ``url`` because of a variable, as a sentence; empty where nothing."""
    said = []
    if _mirror(environ) and url.startswith(_mirror(environ)):
        said.append("It is the mirror that HF_ENDPOINT names.")
    if (name := proxy(url, environ)) is not None:
        said.append(f"It goes through the proxy that {name} names, {masked(environ[name])}.")
    return " ".join(said)


def proxy(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable whose proxy carries a request for ``url``; a lower-case one wins, as everywhere."""
    # Only errors ask, and it brings much with it.
    import urllib.request
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    away = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if urllib.request.proxy_bypass_environment(parts.netloc, {"no": away}):  # type: ignore[attr-defined]
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    return next((each for name in names for each in (name, name.upper()) if environ.get(each)), None)


def auth(environ: Mapping[str, str]) -> Callable[[httpx.Request], httpx.Request]:
    """Return what adds ``HF_TOKEN`` to requests for the hub itself, and to no other host.

    A redirect to where the bytes are goes to another host, and httpx leaves the header behind there.
    """
    token = environ.get("HF_TOKEN", "").strip()
    # A header cannot carry anything else, and it could be no token.
    sendable = token.isascii() and token.isprintable() and bool(token)

    def signed(request: httpx.Request) -> httpx.Request:
        if sendable and (request.url.scheme, request.url.host) == ("https", "huggingface.co"):
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return signed


def certificates(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return what a server's certificate is checked against.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` where they are set, and nothing else then; otherwise the system's
    certificates together with the ones that came with the HTTP library, since a small system may have none.
    """
    import ssl

    file, folder = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    if file or folder:
        try:
            return ssl.create_default_context(cafile=file, capath=folder)
        except OSError as error:
            raise ConfigError(
                f"The certificates in {file or folder} cannot be read: {error.strerror or error}.",
                where="SSL_CERT_FILE" if file else "SSL_CERT_DIR",
                hint="Correct the variable, or unset it.",
            ) from None
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a server asked us to wait, if it did.

    It may name a date instead: ``now`` is in seconds since the epoch.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _until(value, now)
        # Not a number is no answer; NaN compares false with everything.
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _until(date: str, now: float) -> float:
    # Rarely needed, and it brings the whole of mail.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - now)
    except (ValueError, OverflowError):
        return float("nan")
