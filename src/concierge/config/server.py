"""The server that the configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from concierge.endpoint import Endpoint, key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from concierge.config.keys import Llm


def configured(llm: Llm, *, model: str, environ: Mapping[str, str]) -> Endpoint:
    """Return the server that the configuration names, without asking anybody.

    Raises:
        ConfigError: The key cannot be sent.
    """
    given, place = None, "llm.api_key"
    if llm.api_key is not None:
        given = llm.api_key.get_secret_value()
    elif llm.api_key_env:
        given, place = environ.get(llm.api_key_env), llm.api_key_env
    return Endpoint(str(llm.address), model, key(given, place=place), address=llm.address)
