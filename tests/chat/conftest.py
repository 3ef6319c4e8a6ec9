from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from concierge.config.keys import Llm
from concierge.paths import Home
from concierge.server.ensure import ensure
from concierge.server.stop import down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from concierge.deploy.spec import ServerSpec
    from concierge.endpoint import Endpoint

NOBODY = "http://127.0.0.1:1/v1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def real_endpoint(real_spec: ServerSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The real engine, serving the smallest model for as long as the tests run."""
    home = Home(tmp_path_factory.mktemp("home"))
    environ = {**os.environ, "CONCIERGE_HOME": str(home.root)}
    wanted = Llm(base_url=NOBODY, local_llm_start_timeout_s=60.0)
    try:
        yield ensure(wanted, model=real_spec.model, prepare=lambda: real_spec, home=home, say=print, environ=environ)
    finally:
        down(home, say=print, environ=environ)
