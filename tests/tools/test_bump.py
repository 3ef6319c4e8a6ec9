"""Newer releases are written into a copy of the shipped catalogue, from answers in the form of the publishers' own."""

from __future__ import annotations

import difflib
import io
import shutil
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from concierge.catalog.loader import load
from concierge.catalog.types import Artefact, Catalog, HttpsSource
from concierge.config.keys import Llm
from concierge.lock import resolve
from tools.catalogue import bump
from tools.catalogue.publishers import GITHUB, HUGGING_FACE, Publishers

if TYPE_CHECKING:
    from collections.abc import Callable

LLAMA, OLLAMA = "ggml-org/llama.cpp", "ollama/ollama"
NEWER, COMMIT = "e" * 40, "c" * 40
SHIPPED = Path(str(files("concierge.catalog")))

Answers = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (bump.ENGINES, bump.MODELS):
        shutil.copy2(SHIPPED / name, tmp_path / name)
    return tmp_path


def pinned(catalog: Catalog, repo: str) -> list[tuple[str, str]]:
    """Return tag and file of every artefact that comes from a repository's releases."""
    urls = [source.url for _, source in https(catalog)]
    return [(found["tag"], found["file"]) for url in urls if (found := GITHUB.fullmatch(url)) and found["repo"] == repo]


def https(catalog: Catalog) -> list[tuple[Artefact, HttpsSource]]:
    artefacts = [artefact for build in catalog.builds for artefact in build.artefact]
    artefacts += [artefact for model in catalog.models for artefact in model.artefact]
    return [(each, source) for each in artefacts for source in each.sources if isinstance(source, HttpsSource)]


def release(catalog: Catalog, repo: str, tag: str) -> dict[str, Any]:
    """Return a release that holds all that the catalogue takes, each with a hash of its own."""
    names = sorted({file.replace(old, tag) for old, file in pinned(catalog, repo)})
    assets = [
        {"name": name, "size": 1000 + n, "digest": f"sha256:{n:064x}", "state": "uploaded"}
        for n, name in enumerate(names, 1)
    ]
    return {"tag_name": tag, "draft": False, "assets": assets}


def unmoved(catalog: Catalog) -> Answers:
    """Return what publishers say when nothing is newer."""
    answers: Answers = {f"https://api.github.com/repos/{repo}/releases?per_page=50": [] for repo in (LLAMA, OLLAMA)}
    for _, source in https(catalog):
        if found := HUGGING_FACE.fullmatch(source.url):
            answers[f"https://huggingface.co/api/models/{found['repo']}"] = {"sha": found["revision"]}
    return answers


def newer_release(catalog: Catalog, repo: str, tag: str) -> Answers:
    return {
        f"https://api.github.com/repos/{repo}/releases?per_page=50": [release(catalog, repo, tag)],
        f"https://api.github.com/repos/{repo}/commits/{tag}": {"sha": COMMIT, "commit": {"message": "newer"}},
    }


def newer_model(catalog: Catalog, name: str, *, grown: int = 1) -> Answers:
    model = catalog.model(name)
    assert model is not None
    tree = [
        {"path": each.name, "size": 134, "lfs": {"oid": "9" * 64, "size": each.size + grown}} for each in model.artefact
    ]
    return {
        f"https://huggingface.co/api/models/{model.repo}": {"sha": NEWER},
        f"https://huggingface.co/api/models/{model.repo}/tree/{NEWER}?recursive=true": tree,
    }


def bumped(folder: Path, change: Callable[[Catalog], Answers] = lambda _: {}) -> tuple[int, str, str]:
    catalog = load(folder)
    answers = unmoved(catalog) | change(catalog)

    def handler(request: httpx.Request) -> httpx.Response:
        answer = answers.get(str(request.url), 404)
        return httpx.Response(answer) if isinstance(answer, int) else httpx.Response(200, json=answer)

    out, err = io.StringIO(), io.StringIO()
    publishers = Publishers(httpx.Client(transport=httpx.MockTransport(handler)))
    return bump.bump(folder, publishers, out=out, err=err), out.getvalue(), err.getvalue()


def difference(folder: Path, name: str) -> list[str]:
    """Return the lines that are not the shipped ones any more, and those that took their place."""
    old, new = ((where / name).read_text(encoding="utf-8").splitlines() for where in (SHIPPED, folder))
    return [line for line in difflib.ndiff(old, new) if line[0] in "+-"]


def test_without_anything_newer_no_byte_changes(folder: Path) -> None:
    assert bumped(folder) == (0, "", "")
    assert all((folder / name).read_bytes() == (SHIPPED / name).read_bytes() for name in (bump.ENGINES, bump.MODELS))


def test_a_newer_llama_cpp_moves_all_its_builds_and_nothing_else(folder: Path) -> None:
    before = load(folder)
    code, out, err = bumped(folder, lambda catalog: newer_release(catalog, LLAMA, "b99999"))
    after = load(folder)
    assert (code, out) == (0, f"~ {LLAMA}: b11457 -> b99999\n")
    ours = [build for build in after.builds if build.launcher == "llama-server"]
    assert {(build.version, build.llama_cpp) for build in ours} == {("b99999", 99999)}
    # Where no commit was known, none is written.
    assert {build.commit for build in ours} == {COMMIT, None}
    assert {tag for tag, _ in pinned(after, LLAMA)} == {"b99999"}
    moved = [artefact for artefact, source in https(after) if LLAMA in source.url]
    assert {artefact.trust for artefact in moved} == {"publisher"}
    assert all(artefact.size > 1000 and int(artefact.sha256, 16) == artefact.size - 1000 for artefact in moved)
    assert [b for b in after.builds if b not in ours] == [b for b in before.builds if b.launcher != "llama-server"]
    assert difference(folder, bump.MODELS) == []
    assert "engines.toml:" in err


def test_what_holds_of_the_shipped_catalogue_holds_of_the_new_one(folder: Path) -> None:
    bumped(folder, lambda catalog: newer_release(catalog, LLAMA, "b99999") | newer_model(catalog, "qwen3.5-4b"))
    catalog = load(folder)
    choices = [(b.engine, b.version, b.accelerator, b.system, b.artefact[0].name) for b in catalog.builds]
    assert len(set(choices)) == len(choices)
    assert all(source.url.endswith(f"/{artefact.name}") for artefact, source in https(catalog))
    files = {(artefact.sha256, artefact.name, artefact.size) for artefact, _ in https(catalog)}
    assert len({sha256 for sha256, _, _ in files}) == len(files)
    assert all(m.revision is None or m.revision in str(m.artefact[0].sources[0]) for m in catalog.models)


def test_a_newer_ollama_keeps_the_number_of_the_llama_cpp_inside(folder: Path) -> None:
    code, out, _ = bumped(folder, lambda catalog: newer_release(catalog, OLLAMA, "v9.0.1"))
    ours = [build for build in load(folder).builds if build.engine == "ollama"]
    assert (code, out) == (0, f"~ {OLLAMA}: v0.35.0 -> v9.0.1\n")
    assert {(build.version, build.llama_cpp) for build in ours} == {("9.0.1", 10488)}


def test_layout_comments_and_every_other_key_stay(folder: Path) -> None:
    bumped(folder, lambda catalog: newer_release(catalog, LLAMA, "b99999"))
    keys = ("version", "commit", "llama_cpp", "name", "size", "sha256", "trust", "sources")
    changed = difference(folder, bump.ENGINES)
    assert changed
    assert {line[2:].split("=")[0].strip() for line in changed} <= set(keys)
    old, new = ((where / bump.ENGINES).read_text(encoding="utf-8").splitlines() for where in (SHIPPED, folder))
    assert len(old) == len(new)


def test_a_model_moves_to_the_commit_that_changed_its_file(folder: Path) -> None:
    code, out, _ = bumped(folder, lambda catalog: newer_model(catalog, "qwen3.5-9b"))
    before, after = load(SHIPPED).model("qwen3.5-9b"), load(folder).model("qwen3.5-9b")
    assert before is not None
    assert after is not None
    assert (code, out) == (0, f"~ qwen3.5-9b: {before.revision} -> {NEWER}\n")
    assert (after.revision, after.size, after.artefact[0].sha256) == (NEWER, before.size + 1, "9" * 64)
    assert NEWER in str(after.artefact[0].sources[0])
    # revision, size, hash and URL; trust too where it was not the publisher's own.
    assert len([line for line in difference(folder, bump.MODELS) if line[0] == "+"]) in (4, 5)


def test_the_lock_of_the_new_catalogue_differs_only_where_the_bump_was(folder: Path) -> None:
    bumped(folder, lambda catalog: newer_release(catalog, LLAMA, "b99999"))
    written = resolve.resolve(Llm(), load(SHIPPED))
    differences = resolve.check(written, Llm(), load(folder))
    assert differences
    assert all("b99999" in str(each) or "b11429" in str(each) or "b11457" in str(each) for each in differences)


def test_comments_that_name_the_old_version_are_listed_for_a_person(folder: Path) -> None:
    _, _, err = bumped(folder, lambda catalog: newer_release(catalog, LLAMA, "b99999"))
    text = (folder / bump.ENGINES).read_text(encoding="utf-8").splitlines()
    numbers = [int(line.split(":")[1]) for line in err.splitlines()]
    old = [line for line in text if line.startswith("#") and ("b11429" in line or "b11457" in line)]
    assert [text[n - 1] for n in numbers] == old != []


def test_a_release_without_hashes_is_told_and_not_written(folder: Path) -> None:
    def silent(catalog: Catalog) -> Answers:
        answers = newer_release(catalog, LLAMA, "b99999")
        for asset in answers[f"https://api.github.com/repos/{LLAMA}/releases?per_page=50"][0]["assets"]:
            asset["digest"] = None
        return answers | newer_release(catalog, OLLAMA, "v9.0.1")

    code, out, err = bumped(folder, silent)
    assert (code, out) == (1, f"~ {OLLAMA}: v0.35.0 -> v9.0.1\n")
    assert "b99999 is not written: the publisher names no sha256" in err


def test_a_model_that_would_stand_elsewhere_is_left_to_a_person(folder: Path) -> None:
    code, out, err = bumped(folder, lambda catalog: newer_model(catalog, "qwen3-0.6b", grown=1 << 40))
    assert (code, out) == (1, "")
    assert "by hand" in err
    assert difference(folder, bump.MODELS) == []


def test_an_artefact_with_a_second_source_is_left_to_a_person(folder: Path) -> None:
    engines = folder / bump.ENGINES
    text = engines.read_text(encoding="utf-8")
    one = 'llama-b11429-bin-macos-arm64.tar.gz" }]'
    assert one in text
    engines.write_text(text.replace(one, one[:-1] + ', { kind = "path", path = "/mirror" }]'), encoding="utf-8")
    code, _, err = bumped(folder, lambda catalog: newer_release(catalog, LLAMA, "b99999"))
    assert code == 1
    assert "is not the artefact's only source" in err
    assert tomllib.loads(engines.read_text(encoding="utf-8"))["build"]


def test_a_publisher_that_is_away_leaves_the_catalogue_alone(folder: Path) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        bumped(folder, lambda catalog: dict.fromkeys(unmoved(catalog), 503))
    assert difference(folder, bump.ENGINES) == difference(folder, bump.MODELS) == []
