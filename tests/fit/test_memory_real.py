"""The fit formula against what the real engine allocates for the real model."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.loader import load
from concierge.fit import memory
from concierge.gguf.facts import facts_of
from concierge.gguf.header import read_header
from concierge.gguf.readers import FileReader
from concierge.server.engines.command import with_companions
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources.pypi import Pypi
from concierge.store.store import Store
from concierge.units import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Gguf

SYSTEM = "x86_64-linux"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the figures are those of the Linux wheel"
    ),
]

# What is printed is rounded to two digits of a MiB.
ROUNDED = 0.01
# The graph also holds token ids, positions and alignment, and our formula counts the logits, which the engine keeps in
# a buffer of its own: together under this for a vocabulary of 49152.
COMPUTE_TOLERANCE = 0.25

SERVE = """
import os, sys
engine, model, context, kind = sys.argv[1:]
sys.path.insert(0, engine)
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = model
parameters.n_ctx = int(context)
parameters.n_parallel = 1
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
parameters.cors_origins = ""
parameters.verbosity = 4
if kind == "q8_0":
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
server = xllamacpp.Server(parameters)
os._exit(0)
"""


@pytest.fixture(scope="module")
def fetcher(pytestconfig: pytest.Config) -> Fetcher:
    """A store that outlives the run, so that the package index is needed once."""
    return Fetcher(Store(pytestconfig.cache.mkdir("store")), {"pypi": Pypi()}, Silent(), say=lambda _: None)


@pytest.fixture(scope="module")
def engine(fetcher: Fetcher) -> Path:
    [build] = [b for b in load().builds if (b.launcher, b.system, b.accelerator) == ("xllamacpp", SYSTEM, "cpu")]
    return fetcher.fetch(build.artefact)


@pytest.fixture(scope="module")
def model(fetcher: Fetcher) -> Path:
    found = load().model("smollm2-135m")
    assert found is not None
    return fetcher.fetch(found.artefact) / found.artefact[0].name


@pytest.fixture(scope="module")
def facts(model: Path) -> Gguf:
    return facts_of(read_header(FileReader(model), name=model.name), name=model.name)


def printed(engine: Path, model: Path, context: int, kind: str) -> dict[str, float]:
    """Start the engine and return the MiB of each buffer that it names."""
    command = [sys.executable, "-c", SERVE, str(engine), str(model), str(context), kind]
    environ = with_companions(engine, os.environ)
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"(model|KV|compute) buffer size = +([\d.]+) MiB", done.stdout + done.stderr)
    return {name: float(size) for name, size in found}


def test_the_header_of_the_real_model_says_what_the_catalogue_says(facts: Gguf) -> None:
    entry = load().model("smollm2-135m")
    assert entry is not None
    assert facts == entry.gguf


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("context", [512, 2048, 8192])
def test_the_engine_allocates_what_the_formula_says(
    engine: Path, model: Path, facts: Gguf, context: int, kind: memory.KvType
) -> None:
    buffers = printed(engine, model, context, kind)
    cache = memory.kv_bytes(facts, context=context, kv_type=kind) / MIB
    assert cache == pytest.approx(buffers["KV"], abs=ROUNDED)
    header = read_header(FileReader(model), name=model.name)
    weights = (model.stat().st_size - header.data_offset) / MIB
    assert weights == pytest.approx(buffers["model"], abs=ROUNDED)
    compute = memory.compute_bytes(facts, context=context, kv_type=kind) / MIB
    assert compute == pytest.approx(buffers["compute"], abs=COMPUTE_TOLERANCE)


def test_the_estimate_is_never_below_what_the_engine_takes(engine: Path, model: Path, facts: Gguf) -> None:
    buffers = printed(engine, model, 2048, "f16")
    needed = memory.estimate(facts, model.stat().st_size, memory.Serving(2048), on_device=False, margin=0)
    assert needed.host_total / MIB >= sum(buffers.values())
