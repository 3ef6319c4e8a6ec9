"""What ``import concierge`` offers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import concierge


def test_every_public_name_is_there_and_in_order() -> None:
    assert sorted(concierge.__all__) == concierge.__all__
    assert all(getattr(concierge, name) is not None for name in concierge.__all__)
    assert dir(concierge) == concierge.__all__


def test_a_name_that_is_not_public_is_refused_like_in_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Rivre'"):
        _ = concierge.Rivre  # type: ignore[attr-defined]  # a type checker finds it as well


def test_importing_does_nothing_and_loads_nothing() -> None:
    program = "import sys, concierge; print([name for name in sys.modules if name.startswith('concierge.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_one_name_loads_its_own_module_only() -> None:
    program = "import sys, concierge; concierge.FakeChat; print({'concierge.river', 'httpx'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
