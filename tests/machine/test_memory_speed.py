from __future__ import annotations

import sys

import pytest

from concierge.machine.capture import memory_speed


@pytest.mark.skipif(sys.platform == "win32", reason="the C library is not asked there")
def test_main_memory_is_read_at_a_speed_that_memory_has() -> None:
    found = memory_speed.read_gb_s(1, seconds=0.05)
    assert found is not None
    assert 0.5 < found < 2000
