"""What a client must know to talk to a model: where its server is, with which key, and what of that may be shown.

An address is read here and nowhere else, so whoever looks at a server, talks to it or listens means the same by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, cast
from urllib.parse import quote, unquote, urlsplit

from concierge.errors import ConfigError

Dialect = Literal["llama-server", "ollama", "openai", "azure", "generic"]
"""Which server speaks the chat-completions API: how they differ is data, not classes."""

AZURE = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
LISTENERS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # the addresses that nobody can be reached at
"""Where a server listens on every address: what it says of itself, and where this machine reaches it."""

PORTS = {"http": 80, "https": 443}

_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}", re.ASCII)
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
_SAFE = "/%:@!$&'()*+,;=~"
_LABEL = re.compile(r"[\w-]+")
_TAIL = re.compile(r"(?:/chat/completions|/)+$")
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a chat-completions API. Its text is what may be shown: without credentials and query.

    Attributes:
        host: A name or an address, in lower case and without brackets; IPv6 in its shortest form.
        path: Where the API begins; no trailing slash, and never the request's own ``/chat/completions``.
        user: Name and password as they stood in the URL.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str = ""
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}{self.path}"

    @property
    def place(self) -> str:
        """Host and port as a ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine, whatever a resolver would say."""
        return is_loopback(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """What to connect to, in this order."""
        return hosts(self.host)

    @property
    def dialect(self) -> Dialect:
        """What the host is known to speak."""
        if self.host.endswith(AZURE):
            return "azure"
        return "openai" if self.host == "api.openai.com" else "generic"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answers ``POST {base_url}/chat/completions`` for ``model``.

    Attributes:
        base_url: Where the API begins, as it may be shown; what may not be is in ``address`` alone.
        model: The name that the server expects.
        api_key: Sent as a bearer token (or ``api-key`` for Azure), exactly as it stands here; never printed.
        dialect: Whose flavour of the API it is; a host that is known says so itself.
        owned: True when concierge started the server and may stop it.
        context: Tokens that the server really gives to one request, where known.
        tools: False for a model that is known to have no tools.
        protocol: How the model acts best: ``native``, ``shell`` or ``json``; None where that is not known.
        address: Read from ``base_url`` where it is not given.

    Raises:
        ConfigError: ``base_url`` is no address, or the key cannot be sent.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    dialect: Dialect = "generic"
    owned: bool = False
    context: int | None = None
    tools: bool = True
    protocol: str | None = None
    address: Address = field(default=cast("Address", None), repr=False, kw_only=True)

    def __post_init__(self) -> None:
        # A copy with another model keeps what ``base_url`` does not show; one with another ``base_url`` does not.
        if self.address is None or str(self.address) != self.base_url:
            object.__setattr__(self, "address", address(self.base_url))
        object.__setattr__(self, "base_url", str(self.address))
        object.__setattr__(self, "api_key", key(self.api_key, place="llm.api_key"))
        if self.dialect == "generic":
            object.__setattr__(self, "dialect", self.address.dialect)

    @property
    def root(self) -> Endpoint:
        """The same server where its own pages begin rather than its API."""
        top = replace(self.address, path="")
        return replace(self, base_url=str(top), address=top)

    @property
    def authorization(self) -> tuple[str, str] | None:
        """The header that carries the key, or the credentials of the URL where there is no key."""
        if self.api_key:
            return ("api-key", self.api_key) if self.dialect == "azure" else ("Authorization", f"Bearer {self.api_key}")
        return ("Authorization", f"Basic {self._credentials()}") if self.address.user else None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be in no journal, as it is sent."""
        if self.api_key or not self.address.user:
            return (self.api_key,) if self.api_key else ()
        word = self.address.user.partition(":")[2]
        return tuple(dict.fromkeys(filter(None, (word, unquote(word), self._credentials()))))

    def _credentials(self) -> str:
        from base64 import b64encode

        name, _, word = self.address.user.partition(":")
        return b64encode(f"{unquote(name)}:{unquote(word)}".encode()).decode()


def address(base_url: str) -> Address:
    """Return the address that ``base_url`` is."""
    try:
        return read(base_url)
    except ValueError as error:
        raise ConfigError(
            f"`base_url` {error}.", where="llm.base_url", hint="Write it like http://127.0.0.1:11434/v1."
        ) from None


@lru_cache(maxsize=64)
def read(text: str) -> Address:
    """Return the address that a text is.

    Raises:
        ValueError: It is none; the text is the rest of a sentence.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not an http or https URL") from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0 or _UNSENDABLE.search(text):
        raise ValueError("is not an http or https URL")
    host = _host(parts.hostname)
    return Address(
        cast("Literal['http', 'https']", parts.scheme),
        LISTENERS.get(host, host),
        port or PORTS[parts.scheme],
        quote(_TAIL.sub("", parts.path), safe=_SAFE),
        quote(parts.query, safe=f"{_SAFE}?"),
        parts.netloc.rpartition("@")[0],
    )


def key(text: str | None, *, place: str) -> str | None:
    """Return a key as it is sent; None when nothing is left."""
    try:
        return clean(text or "") or None
    except ValueError as error:
        raise ConfigError(
            f"The API key {error}.", where=place, hint="Copy the key again, without line breaks."
        ) from None


def clean(text: str) -> str:
    """Return a key without the blanks and line breaks around it.

    Raises:
        ValueError: It holds what a header cannot carry; the text is the rest of a sentence.
    """
    bare = text.strip()
    if not (bare.isascii() and bare.isprintable()):
        raise ValueError("holds a character that cannot be sent in a header")
    return bare


def masked(text: str) -> str:
    """Return a URL, or what was meant to be one, without its credentials."""
    return re.sub(r"//[^/?#\s]*@", "//***@", text)


def is_loopback(host: str) -> bool:
    """Tell whether a host's name or address can only be this machine: nobody else is reached there, or reaches it."""
    try:
        host = _host(host)
    except ValueError:
        return False
    return _is_localhost(host) or host == "::1" or (host.startswith("127.") and bool(_IPV4.fullmatch(host)))


def hosts(host: str) -> tuple[str, ...]:
    """Return what a host is reached at, in this order.

    A resolver may take seconds over ``localhost``, know only one family of it, and none of ``x.localhost``.
    """
    return ("127.0.0.1", "::1") if _is_localhost(host.lower().removesuffix(".")) else (host,)


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _host(text: str) -> str:
    """Return the one spelling of a host."""
    host = text.lower().removesuffix(".")
    if ":" in host:
        return _ipv6(host)
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Programs read 127.1 and 0177.0.0.1 in different ways.
        if not _IPV4.fullmatch(host):
            raise ValueError("is no address: an IPv4 address is four numbers from 0 to 255")
    elif not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is not an http or https URL")
    return host


def _ipv6(text: str) -> str:
    import ipaddress

    try:
        found = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("is not an http or https URL") from None
    return str(found.ipv4_mapped or found)
