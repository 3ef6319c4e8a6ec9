from __future__ import annotations

import os
from pathlib import Path

import pytest

from concierge.catalog import reference
from concierge.catalog.types import PathSource
from concierge.errors import ConfigError
from tests.make import Make

COMMIT = "23749fefcc72300e3a2ad315e1317431b06b590a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", reference.Auto()),
        ("smollm2-135m", reference.Named("smollm2-135m")),
        ("org/model", reference.Named("org/model")),
        ("qwen3:8b", reference.Named("qwen3:8b")),
        ("/models/a.gguf", reference.Local(Path("/models/a.gguf"))),
        ("./a", reference.Local(Path("./a"))),
        ("models/a.gguf", reference.Local(Path("models/a.gguf"))),
        (r"C:\models\a.gguf", reference.Local(Path(r"C:\models\a.gguf"))),
        (f"hf:Qwen/Qwen3/sub/a.gguf@{COMMIT}", reference.Hub("Qwen/Qwen3", "sub/a.gguf", COMMIT)),
    ],
)
def test_each_form_is_told_from_the_others(text: str, expected: reference.Reference) -> None:
    assert reference.parse(text) == expected


def test_a_relative_path_starts_at_the_folder_of_the_configuration(tmp_path: Path) -> None:
    assert reference.parse("./a.gguf", folder=tmp_path) == reference.Local(tmp_path / "a.gguf")


@pytest.mark.parametrize("revision", ["main", "latest", "v1.0", COMMIT[:12], COMMIT.upper(), COMMIT + "0", ""])
def test_a_reference_that_can_move_is_refused_with_the_form_that_cannot(revision: str) -> None:
    with pytest.raises(ConfigError, match="40 hexadecimal digits"):
        reference.parse(f"hf:Qwen/Qwen3-0.6B-GGUF/a.gguf@{revision}")


@pytest.mark.parametrize(
    "text",
    [
        "hf:Qwen/Qwen3/a.gguf",
        "hf:Qwen",
        f"hf:Qwen/Qwen3@{COMMIT}",
        f"hf:Qwen/../a.gguf@{COMMIT}",
        f"hf:Qwen/Qwen3/a.safetensors@{COMMIT}",
        "hf:",
    ],
)
def test_a_malformed_reference_names_the_key_and_the_form(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reference.parse(text)
    assert caught.value.where == "llm.model"
    assert caught.value.hint is not None
    assert "hf:OWNER/REPO/FILE.gguf@COMMIT" in caught.value.hint


def test_a_shard_stands_for_all_of_its_set_in_order() -> None:
    shard = reference.parse(f"hf:a/b/q/m-00002-of-00003.gguf@{COMMIT}")
    assert isinstance(shard, reference.Hub)
    assert shard.files == tuple(f"q/m-0000{number}-of-00003.gguf" for number in (1, 2, 3))
    assert shard.name == "m"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "qwen3-0.6b-q8_0"),
        ("sub/My Model (1).gguf", "my-model-1"),
        ("._x.gguf", "x"),
        ("模型.gguf", "model"),
    ],
)
def test_a_file_gives_a_name_that_the_catalogue_would_accept(file: str, name: str) -> None:
    assert reference.slug(file) == name


def test_a_repository_needs_an_owner_a_name_and_a_file() -> None:
    assert reference.parse(f"hf:a/b/c.gguf@{COMMIT}") == reference.Hub("a/b", "c.gguf", COMMIT)
    for text in (f"hf:a/b.gguf@{COMMIT}", f"hf:/b/c.gguf@{COMMIT}", f"hf:a//c.gguf@{COMMIT}"):
        with pytest.raises(ConfigError, match="names no file"):
            reference.parse(text)


def test_the_state_of_a_file_is_its_place_its_size_and_its_time_for_every_shard(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(b"1234")
    os.utime(first, ns=(1, 77))
    said = reference.state(reference.Local(first))
    assert said == f"{first} 4 77\n{second} absent"


@pytest.mark.parametrize("wanted", [reference.Auto(), reference.Named("a"), reference.Hub("a/b", "c.gguf", COMMIT)])
def test_what_is_no_file_of_this_machine_has_no_state(wanted: reference.Reference) -> None:
    assert reference.state(wanted) == ""


def test_a_locked_model_is_meant_only_by_its_own_repository_commit_or_file() -> None:
    hub = reference.Hub("a/b", "c.gguf", COMMIT)
    other = "0" * 40
    model = Make().model("c", 1, 1, repo="a/b", revision=COMMIT)
    assert reference.means(hub, model)
    for facts in ({"repo": "a/c"}, {"revision": other}, {"revision": None}):
        assert not reference.means(hub, model.model_copy(update=facts))
    file = Make().artefact("c.gguf", 1, sources=(PathSource(path="/c.gguf"),))
    local = reference.Local(Path("/c.gguf"))
    assert reference.means(local, model.model_copy(update={"artefact": (file, model.artefact[0])}))
    assert not reference.means(local, model.model_copy(update={"artefact": (model.artefact[0], file)}))
    assert reference.means(reference.Named("anything"), model)
