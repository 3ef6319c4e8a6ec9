"""The HTTP library's clients: for downloads, and for a model. Importing it takes longer than a whole status."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Final

import httpx

from concierge import net
from concierge.endpoint import masked
from concierge.errors import EndpointError, FetchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.endpoint import Address, Endpoint
    from concierge.errors import ConciergeError

_PROXIES: Final = tuple(each for name in ("https_proxy", "http_proxy", "all_proxy") for each in (name, name.upper()))
_NEAR: Final = ("localhost", "127.0.0.1", "[::1]")


def downloads(environ: Mapping[str, str], *, follow_redirects: bool) -> httpx.Client:
    """Return a client for files and for the hub: the environment's proxies, certificates and token hold.

    Raises:
        FetchError: A proxy is named that cannot be used.
        ConfigError: The certificates cannot be read.
    """
    verify = net.certificates(environ)
    try:
        return httpx.Client(
            auth=net.auth(environ),
            follow_redirects=follow_redirects,
            timeout=httpx.Timeout(30.0, connect=15.0),
            verify=verify,
            mounts={f"all://{host}": None for host in _NEAR},
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _unusable(environ, FetchError, error) from None


def conversation(
    endpoint: Endpoint,
    *,
    headers: Mapping[str, str],
    timeout: httpx.Timeout,
    limits: httpx.Limits,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return a client for one endpoint, which sends its key along and follows no redirect.

    A ``transport`` carries the requests instead of the network.

    Raises:
        EndpointError: A proxy is named that cannot be used.
        ConfigError: The certificates cannot be read.
    """
    address, signed = endpoint.address, [endpoint.authorization] if endpoint.authorization else []
    # Reading the certificates takes longer than a local request; plain HTTP has no use for them, and a context
    # without any would refuse every TLS peer.
    plain = address.loopback and address.scheme == "http"
    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else net.certificates(os.environ)
    if transport is None and len(address.hosts) > 1:
        transport = _Near(httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False), address)
    try:
        return httpx.AsyncClient(
            headers=dict([*headers.items(), *signed]),
            timeout=timeout,
            limits=limits,
            follow_redirects=False,
            # A proxy never stands between this machine and itself.
            trust_env=not address.loopback,
            verify=verify,
            transport=transport,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise _unusable(os.environ, EndpointError, error) from None


def _unusable(environ: Mapping[str, str], kind: type[ConciergeError], error: Exception) -> ConciergeError:
    """Name the variable whose proxy the HTTP library cannot use."""
    named = [
        name for name in _PROXIES if environ.get(name, "") and not environ[name].startswith(("http://", "https://"))
    ]
    name = next(iter(named), next((name for name in _PROXIES if environ.get(name)), "HTTPS_PROXY"))
    value = masked(environ.get(name, ""))
    socks = value.startswith("socks")
    return kind(
        f"{name} is {value}, and {'a SOCKS proxy' if socks else 'that'} cannot be used: {error}",
        where=name,
        hint="Set HTTPS_PROXY to an http:// proxy, or unset it"
        + ("; socks5:// works where the package socksio is installed beside concierge." if socks else "."),
    )


class _Near(httpx.AsyncBaseTransport):
    """Connects to this machine as ``near`` does: to the same addresses in the same order, asking no resolver."""

    def __init__(self, carrier: httpx.AsyncBaseTransport, address: Address) -> None:
        self._carrier = carrier
        self._address = address

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        refusals: list[httpx.TransportError] = []
        for host in self._address.hosts:
            try:
                return await self._carrier.handle_async_request(self._sent_to(host, request))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refusals.append(error)
                if _was_heard(error):
                    break
        raise refusals[-1]

    def _sent_to(self, host: str, request: httpx.Request) -> httpx.Request:
        return httpx.Request(
            request.method,
            request.url.copy_with(host=host),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": self._address.host},
        )

    async def aclose(self) -> None:
        await self._carrier.aclose()


def _was_heard(error: BaseException | None) -> bool:
    """Tell whether somebody listened, who was then not trusted."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None
