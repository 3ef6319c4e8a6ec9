from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from concierge.server import measure
from tests.server.peer import peer

if TYPE_CHECKING:
    from tests.server.peer import Said

TIMINGS = {"predicted_per_second": 12.5, "prompt_per_second": 250.0}


def test_a_server_s_own_timings_are_its_rates() -> None:
    with peer(lambda line, _: (200, {"timings": TIMINGS}) if line == "POST /completion" else (404, {})) as server:
        assert measure.rates(server.endpoint(), read=100, write=8, timeout=5) == (12.5, 250.0)
        [asked] = server.bodies
    assert len(asked["prompt"].split()) == 100
    assert (asked["n_predict"], asked["cache_prompt"], asked["ignore_eos"]) == (8, False, True)


@pytest.mark.parametrize(
    "said",
    [
        (404, {}),
        (200, {}),
        (200, {"timings": []}),
        (200, {"timings": {**TIMINGS, "prompt_per_second": None}}),
        (200, {"timings": {**TIMINGS, "predicted_per_second": 0}}),
        (200, b"no JSON"),
        (200, None),
    ],
)
def test_a_server_that_tells_no_timings_has_no_rates(said: Said) -> None:
    with peer(lambda *_: said) as server:
        assert measure.rates(server.endpoint(), read=10, write=1, timeout=5) is None
