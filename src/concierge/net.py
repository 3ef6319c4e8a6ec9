"""Which model hub the environment names, and who may see its token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

BASE = "https://huggingface.co"


def base(environ: Mapping[str, str]) -> str:
    """Return the address of the hub: ``HF_ENDPOINT`` where it is set, as the hub's own client has it.

    Raises:
        ConfigError: It is not an ``https`` address, and nothing else is ever locked.
    """
    named = environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    if named and not named.startswith("https://"):
        raise ConfigError(
            f"HF_ENDPOINT is {named}, and models are only had over https.",
            where="HF_ENDPOINT",
            hint="Set it to an https address, or unset it.",
        )
    return named or BASE


def auth(environ: Mapping[str, str]) -> Callable[[httpx.Request], httpx.Request]:
    """Return what adds ``HF_TOKEN`` to requests for the hub itself, and to no other host.

    A redirect to where the bytes are goes to another host, and httpx leaves the header behind there.
    """
    token = environ.get("HF_TOKEN", "").strip()

    def signed(request: httpx.Request) -> httpx.Request:
        if _sendable(token) and (request.url.scheme, request.url.host) == ("https", "huggingface.co"):
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return signed


def _sendable(token: str) -> bool:
    """Tell whether it could be a token at all; a header cannot carry anything else."""
    return token.isascii() and token.isprintable() and bool(token)
