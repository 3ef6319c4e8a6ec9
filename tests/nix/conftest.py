from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.nix.nixlab import Nix


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    """Return a real Nix; without one the test is skipped, unless CONCIERGE_NIX_REQUIRED says that it must be there."""
    spec = importlib.util.spec_from_file_location("nixlab", Path(__file__).with_name("nixlab.py"))
    assert spec is not None
    assert spec.loader is not None
    nixlab = importlib.util.module_from_spec(spec)
    sys.modules["nixlab"] = nixlab
    spec.loader.exec_module(nixlab)
    executable = nixlab.find()
    if executable is None:
        message = "no Nix here; ./bootstrap.sh test --nix provides one"
        if os.environ.get("CONCIERGE_NIX_REQUIRED"):
            pytest.fail(message)
        pytest.skip(message)
    if sys.platform == "win32":
        pytest.skip("Nix does not run on Windows")
    lab: Nix = nixlab.lab(executable, tmp_path_factory.mktemp("nix"), sys.executable)
    return lab


@pytest.fixture
def stubbed(nix: Nix) -> Nix:
    """Return Nix for tests that look at what only the stub does."""
    if nix.real:
        pytest.skip("this is about the stub of nixpkgs, and CONCIERGE_NIXPKGS names a real one")
    return nix
