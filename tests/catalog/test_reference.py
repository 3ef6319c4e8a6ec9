from __future__ import annotations

from pathlib import Path

import pytest

from concierge.catalog import reference
from concierge.errors import ConfigError

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
