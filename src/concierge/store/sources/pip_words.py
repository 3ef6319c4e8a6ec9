"""What pip's words mean: the cause of a failure, which stands anywhere but in its last line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from concierge.errors import ArtefactError, FetchError, StoreError, VerifyError

if TYPE_CHECKING:
    from collections.abc import Mapping

_AGAIN = "Check the network and pip's own settings (PIP_INDEX_URL, PIP_PROXY, pip.conf), then run it again."
_INDEX = "Check PIP_INDEX_URL and pip.conf: an index of your own must hold what concierge pins."
_PROXY = "Correct HTTPS_PROXY, PIP_PROXY or the proxy in pip.conf, or unset it."
_SETTING = "Correct that setting of pip's (a PIP_ variable, or pip.conf), or unset it."
_CERT = "Set PIP_CERT or SSL_CERT_FILE to the certificate of your proxy or index."

_CAUSES: tuple[tuple[str, type[ArtefactError], str, str], ...] = (
    (
        r"No space left on device|Disk quota exceeded",
        StoreError,
        "the disk is full",
        "Free some space, or put CONCIERGE_HOME on a larger disk.",
    ),
    (
        r"Read-only file system",
        StoreError,
        "the disk is read-only",
        "Put CONCIERGE_HOME on a disk that you can write to.",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        VerifyError,
        "the package index serves other bytes than the ones pinned",
        "Nothing was kept. If your index is a mirror, compare it with the publisher; do not use these bytes.",
    ),
    (
        r"No module named '?pip",
        FetchError,
        "pip is not installed for the Python that runs concierge",
        "Install it: python -m ensurepip, or the system's package python3-pip.",
    ),
    (
        r"no such option: (\S+)|invalid choice: (\S+)",
        FetchError,
        "this pip is too old, it does not know {0}",
        "Update it: python -m pip install --upgrade pip.",
    ),
    (r"configuration: (option \S+ .+?)(?:\. Check your|$)", FetchError, "pip's settings are wrong: {0}", _SETTING),
    (r"Configuration file (?:could not be loaded|contains)", FetchError, "pip's settings cannot be read", _SETTING),
    (r"Could not find an activated virtualenv", FetchError, "PIP_REQUIRE_VIRTUALENV forbids it", _SETTING),
    (
        r"Missing dependencies for SOCKS support",
        FetchError,
        "the proxy is a SOCKS proxy, which pip does not speak",
        f"{_PROXY} With PySocks installed beside pip it would.",
    ),
    (r"Could not find a suitable TLS CA certificate bundle.*?: (\S+)", FetchError, "there is no {0}", _CERT),
    (
        r"CERTIFICATE_VERIFY_FAILED\] ([^(\n]*)|SSLError\(([^\n]*?)\)|WRONG_VERSION_NUMBER",
        FetchError,
        "the certificate of the package index is not trusted",
        _CERT,
    ),
    (r"Tunnel connection failed: (\d+ [\w ]+)", FetchError, "the proxy refuses: {0}", _PROXY),
    (
        r"ProxyError|Cannot connect to proxy|Unable to connect to proxy",
        FetchError,
        "the proxy does not answer",
        _PROXY,
    ),
    (
        r"Failed to resolve|Name or service not known|name resolution|nodename nor servname|getaddrinfo failed",
        FetchError,
        "the name of the package index is not known here (no DNS, or no network)",
        _AGAIN,
    ),
    (r"Connection refused|WinError 10061", FetchError, "nobody listens at the package index", _AGAIN),
    (r"No route to host|Network is unreachable", FetchError, "there is no way to the package index", _AGAIN),
    (r"[Tt]imed out|ConnectTimeout|ReadTimeout", FetchError, "the package index does not answer in time", _AGAIN),
    (
        r"(?:HTTP error|too many) (5\d\d)|\b(5\d\d) Server Error",
        FetchError,
        "the package index is out of order: it answers {0}",
        "Try again later.",
    ),
    (
        r"(?:HTTP error|too many) (429)|\b(429) Client Error",
        FetchError,
        "the package index asks for a pause: it answers {0}",
        "Try again later.",
    ),
    (
        r"\b(401|403|407) Client Error|HTTP error (401|403|407)",
        FetchError,
        "the package index wants an account: it answers {0}",
        "Put the account into PIP_INDEX_URL, ~/.netrc or pip.conf.",
    ),
    (r"not a trusted or secure host", FetchError, "pip takes nothing from an index over plain http", _SETTING),
    (r"Connection (?:reset|broken|aborted)|IncompleteRead", FetchError, "the connection broke", _AGAIN),
    (r"index url \"([^\"]+)\" seems invalid", FetchError, "{0} is no address of an index", _INDEX),
    (
        r"\(from versions: (?!none\))([^)]+)\)",
        FetchError,
        "the package index has other versions of it only ({0})",
        _INDEX,
    ),
    (r"\b(404) Client Error|HTTP error (404)", FetchError, "the package index does not have it", _INDEX),
    (
        r"^0 location\(s\) to search",
        FetchError,
        "pip may ask no package index (PIP_NO_INDEX, or no-index in pip.conf)",
        _SETTING,
    ),
    (r"No matching distribution found", FetchError, "the package index has no file of it for this system", _INDEX),
    (r"Permission denied: '?([^'\n]+)", StoreError, "{0} may not be written", "Make it writable."),
)
"""What pip prints, most telling first: several of these stand in one output, and each is followed by the last."""


def failure(name: str, words: list[str], environ: Mapping[str, str], *, where: str) -> ArtefactError:
    """Return the error for a pip that failed to bring ``name``, out of everything that it said.

    A dead proxy refuses a connection as a dead index does, and newer pips no longer tell which of them it was.
    """
    text = "\n".join(words)
    for pattern, kind, cause, hint in _CAUSES:
        match = re.search(pattern, text, re.MULTILINE)
        if match is not None:
            told = next((group for group in match.groups() if group), "").strip(" .")
            cause = cause.format(told[:200])
            if "nobody listens" in cause and _through_proxy(text, environ):
                cause, hint = "the proxy does not answer", _PROXY
            return kind(f"pip could not download {name}: {cause}.", where=where, hint=hint)
    errors = [word.removeprefix("ERROR: ") for word in words if word.startswith("ERROR: ")]
    told = errors[-1] if errors else (words[-1] if words else "pip ended without a word")
    return FetchError(f"pip could not download {name}: {told}", where=where, hint=_AGAIN)


def _through_proxy(text: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the host that refused is the proxy that a variable names."""
    refused = re.search(r"host='([^']+)', port=(\d+)\): Failed to establish", text)
    names = ("PIP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY")
    proxies = " ".join(environ.get(name, "") for name in names)
    return refused is not None and f"{refused[1]}:{refused[2]}" in proxies
