from __future__ import annotations

import os
from typing import TYPE_CHECKING

from concierge.config.keys import Llm
from concierge.deploy.generation import asked_digest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_model_file_is_asked_for_with_its_path_its_size_and_its_time(tmp_path: Path) -> None:
    file, llm = tmp_path / "m.gguf", Llm(model="./m.gguf")
    digests = [asked_digest(llm, b"", folder=tmp_path)]
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    digests.append(asked_digest(llm, b"", folder=tmp_path))
    os.utime(file, ns=(1, 2))
    digests.append(asked_digest(llm, b"", folder=tmp_path))
    file.write_bytes(b"three")
    os.utime(file, ns=(1, 2))
    digests.append(asked_digest(llm, b"", folder=tmp_path))
    digests.append(asked_digest(llm, b"", folder=tmp_path / "elsewhere"))
    assert len(set(digests)) == len(digests)
    assert asked_digest(llm, b"", folder=tmp_path) == digests[-2]


def test_the_folder_means_nothing_for_a_model_of_the_catalogue(tmp_path: Path) -> None:
    llm = Llm(model="smollm2-135m")
    assert asked_digest(llm, b"pins", folder=tmp_path) == asked_digest(llm, b"pins")
    assert asked_digest(llm, b"pins") != asked_digest(llm, b"other pins")
