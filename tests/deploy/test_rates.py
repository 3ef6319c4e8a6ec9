from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from concierge.deploy import rates
from concierge.deploy.rates import KEPT, Measured
from concierge.errors import StoreError
from concierge.paths import Home
from concierge.plan.words import Rate

if TYPE_CHECKING:
    from pathlib import Path

RATE = Rate("e", "m", (("threads", "4"),), 10.5, 100.0, tuned=True)


def test_what_was_measured_comes_back_as_it_was(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert rates.load(home) == Measured()
    measured = Measured(20.5, (RATE, replace(RATE, model_sha256="n", tuned=False)))
    rates.save(home, measured)
    assert rates.load(home) == measured


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": 1}', b'{"schema": 1, "reads_gb_s": null, "rates": [{}]}']
)
def test_a_file_that_cannot_be_read_measured_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "measured.json").write_bytes(text)
    assert rates.load(Home(tmp_path)) == Measured()


def test_a_home_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="home"):
        rates.save(Home(tmp_path / "home"), Measured())


def test_a_rate_takes_the_place_of_the_one_of_the_same_server_and_the_oldest_go() -> None:
    measured = Measured().having(RATE).having(replace(RATE, written=11.0)).having(replace(RATE, tuned=False))
    assert [(rate.written, rate.tuned) for rate in measured.rates] == [(11.0, True), (10.5, False)]
    for number in range(KEPT):
        measured = measured.having(replace(RATE, model_sha256=str(number)))
    assert len(measured.rates) == KEPT
    assert RATE not in measured.rates


def test_only_what_was_tuned_makes_another_plan() -> None:
    assert Measured(20.0).having(replace(RATE, tuned=False)).tuned == b""
    assert Measured(20.0).having(RATE).tuned != b""
