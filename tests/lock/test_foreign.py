from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx
import pytest

from concierge.catalog.reference import Hub, Local
from concierge.errors import ArtefactError, ConfigError
from concierge.lock.foreign import Describer
from concierge.lock.hub import HttpHub
from tests.conftest import gguf

if TYPE_CHECKING:
    from pathlib import Path

    from concierge.catalog.types import Model

COMMIT = "7" * 40


def offline(_: httpx.Request) -> httpx.Response:
    raise AssertionError("a local file needs no network")


def described(wanted: Local) -> Model:
    return Describer(HttpHub(httpx.Client(transport=httpx.MockTransport(offline))))(wanted)


def test_a_local_file_is_pinned_by_its_whole_path(gguf_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "My Model (v2).gguf"
    path.write_bytes(gguf_bytes)
    model = described(Local(path))
    (source,) = model.artefact[0].sources
    assert (model.name, source.kind) == ("my-model-v2", "path")
    assert source.kind == "path"
    assert source.path == str(path)
    assert (model.licence, model.artefact[0].trust, model.artefact[0].name) == ("unknown", "seen", path.name)


def test_all_shards_of_a_local_model_are_pinned_and_a_missing_one_is_named(gguf_bytes: bytes, tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(gguf_bytes)
    with pytest.raises(ConfigError, match=r"no model file at .*m-00002-of-00002") as missing:
        described(Local(first))
    assert missing.value.where == "llm.model"
    second.write_bytes(gguf_bytes)
    model = described(Local(first))
    assert [artefact.name for artefact in model.artefact] == [first.name, second.name]
    assert model.name == "m"


def test_all_shards_of_a_repository_are_pinned(gguf_bytes: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/api/"):
            return httpx.Response(200, json={"gated": "auto"})
        if request.method == "HEAD":
            sha256 = ("a" if "00001-of" in request.url.path else "b") * 64
            headers = {"x-repo-commit": COMMIT, "x-linked-size": str(len(gguf_bytes)), "x-linked-etag": f'"{sha256}"'}
            return httpx.Response(302, headers={**headers, "location": "https://cdn.invalid/blob"})
        return httpx.Response(206, content=gguf_bytes)

    hub = HttpHub(httpx.Client(transport=httpx.MockTransport(answer)), base="https://mirror.invalid")
    model = Describer(hub)(Hub("o/r", "q8/m-00001-of-00002.gguf", COMMIT))
    assert [artefact.sha256[0] for artefact in model.artefact] == ["a", "b"]
    assert [source.url for artefact in model.artefact for source in artefact.sources if source.kind == "https"] == [
        f"https://mirror.invalid/o/r/resolve/{COMMIT}/q8/m-0000{number}-of-00002.gguf" for number in (1, 2)
    ]
    assert (model.gated, model.licence) == (True, "unknown")


def test_a_header_that_names_the_model_and_its_licence_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf({"general.name": "My Model", "general.license": "mit"}))
    assert (described(Local(path)).title, described(Local(path)).licence) == ("My Model", "mit")


@pytest.mark.parametrize(
    ("template", "chat"),
    [
        ({}, ("none", False, "never")),
        ({"tokenizer.chat_template": "{{ messages }}"}, ("own", False, "never")),
        ({"tokenizer.chat_template": "{% if tools and enable_thinking %}"}, ("own", True, "optional")),
    ],
    ids=("none", "plain", "everything"),
)
def test_the_chat_template_tells_what_the_model_can_do(
    tmp_path: Path, template: dict[str, str], chat: tuple[str, bool, str]
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(template))
    told = described(Local(path)).chat
    assert (told.template, told.tools, told.thinking) == chat


@pytest.mark.parametrize(
    ("file", "quant"),
    [("M-Q4_K_M.gguf", "Q4_K_M"), ("m.iq2_xxs.gguf", "IQ2_XXS"), ("M-UD-Q6_K_XL.gguf", "UD-Q6_K_XL"), ("m", "unknown")],
)
def test_the_quantisation_is_read_from_the_file_name(gguf_bytes: bytes, tmp_path: Path, file: str, quant: str) -> None:
    (tmp_path / file).write_bytes(gguf_bytes)
    assert described(Local(tmp_path / file)).quant == quant


def test_every_weight_of_every_shard_counts(gguf_bytes: bytes, tmp_path: Path) -> None:
    shards = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for shard in shards:
        shard.write_bytes(gguf_bytes)
    assert described(Local(shards[0])).params == 2 * 64 * 100


def test_a_file_too_large_to_hash_unnoticed_is_announced(gguf_bytes: bytes, tmp_path: Path) -> None:
    said: list[str] = []
    describe = Describer(HttpHub(httpx.Client(transport=httpx.MockTransport(offline))), said.append)
    (tmp_path / "small.gguf").write_bytes(gguf_bytes)
    describe(Local(tmp_path / "small.gguf"))
    assert said == []
    (tmp_path / "large.gguf").write_bytes(gguf_bytes)
    os.truncate(tmp_path / "large.gguf", 1 << 30)
    describe(Local(tmp_path / "large.gguf"))
    assert said == [f"Hashing {tmp_path / 'large.gguf'} (1.1 GB) to pin it."]


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file") as caught:
        described(Local(tmp_path))
    assert caught.value.where == "llm.model"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("not a model")
    with pytest.raises(ArtefactError, match="not a readable GGUF file"):
        described(Local(path))
