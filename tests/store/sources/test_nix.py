from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from concierge.errors import FetchError
from concierge.processes import Hear, Output, unheard
from concierge.store.sources import nix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Nix does not run on Windows")


class FakeRun:
    """Answers like Nix, and remembers what it was asked."""

    def __init__(
        self, code: int | None = 0, output: str = "", *, tail: tuple[str, ...] = (), raises: Exception | None = None
    ):
        self.done = Output(code, output)
        self.tail = tail
        self.raises = raises
        self.words: Sequence[str] = ()

    def __call__(self, command: Sequence[str], *, seconds: float, err: Hear = unheard) -> Output:
        self.words = command
        for line in self.tail:
            err(line)
        if self.raises is not None:
            raise self.raises
        return self.done


def test_exactly_one_attribute_of_the_flake_is_asked_for(tmp_path: Path) -> None:
    run = FakeRun(output=f"{tmp_path}\n")
    assert nix.realise("/src", "legacyPackages.x86_64-linux.engines.llama-cpp.vulkan", run=run) == tmp_path
    assert list(run.words)[-2:] == ["--print-out-paths", "/src#legacyPackages.x86_64-linux.engines.llama-cpp.vulkan"]
    assert "--no-link" in run.words
    assert "--no-write-lock-file" in run.words


def test_a_root_keeps_the_result_from_garbage_collection(tmp_path: Path) -> None:
    run = FakeRun(output=f"{tmp_path}\n")
    nix.realise("/src", "engines.ollama.cpu", run=run, root=tmp_path / "engine")
    assert "--no-link" not in run.words
    assert list(run.words)[run.words.index("--out-link") + 1] == str(tmp_path / "engine")


def test_a_failed_build_says_what_nix_said_last() -> None:
    said = [f"building {number}" for number in range(nix.TAIL)]
    run = FakeRun(1, tail=(*said, "error: no space left on device"))
    with pytest.raises(FetchError, match="no space left on device") as raised:
        nix.realise("/src", "engines.ollama.cuda", run=run)
    assert "building 0\n" not in raised.value.what
    assert "building 1\n" in raised.value.what
    assert raised.value.hint is not None
    assert "nix build '/src#engines.ollama.cuda'" in raised.value.hint


def test_narration_reaches_the_caller_line_by_line(tmp_path: Path) -> None:
    said: list[str] = []
    run = FakeRun(output=f"{tmp_path}\n", tail=("copying path 1", "copying path 2"))
    nix.realise("/src", "a", run=run, say=said.append)
    assert said == ["copying path 1", "copying path 2"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(2, "No such file or directory"), "There is no `nix` on PATH"),
        (PermissionError(13, "Permission denied"), "cannot be started: Permission denied"),
    ],
)
def test_a_nix_that_does_not_start_is_a_failed_fetch(error: Exception, sentence: str) -> None:
    with pytest.raises(FetchError, match=sentence) as caught:
        nix.realise("/src", "a", run=FakeRun(raises=error))
    assert caught.value.where == "/src#a"


def test_a_nix_that_does_not_finish_is_a_failed_fetch() -> None:
    with pytest.raises(FetchError, match="did not finish in 5 s") as caught:
        nix.realise("/src", "a", run=FakeRun(None), timeout=5)
    assert caught.value.where == "/src#a"
    assert caught.value.hint


@pytest.mark.parametrize("output", ["", "/a\n/b\n", "not a path\n"])
def test_anything_but_one_path_is_refused(output: str) -> None:
    with pytest.raises(FetchError, match="one store path") as caught:
        nix.realise("/src", "a", run=FakeRun(output=output))
    assert caught.value.where == "/src#a"


def test_a_result_in_another_machines_store_is_refused() -> None:
    with pytest.raises(FetchError, match="not on this machine") as caught:
        nix.realise("/src", "a", run=FakeRun(output="/nix/store/nowhere\n"))
    assert caught.value.where == "/src#a"


@pytest.mark.parametrize(
    ("said", "build"), [("9190", 9190), ("0.4.0", nix.DOTTED), ("unstable-2026-11-01", None), ("", None)]
)
def test_nix_says_which_llama_cpp_its_flake_has(said: str, build: int | None) -> None:
    run = FakeRun(output=said)
    assert nix.llama_cpp("/src", "x86_64-linux", run=run) == build
    assert run.words[-1] == "/src#legacyPackages.x86_64-linux.engines.llama-cpp.native.package.version"


CACHED = (
    "this derivation will be built:",
    "  /nix/store/5dfl6v872kldfghl0ywnm188przavzwr-concierge-llama-cpp-vulkan-9190.drv",
    "these 3 paths will be fetched (12.5 MiB download, 45.67 MiB unpacked):",
    "  /nix/store/wwnm9ff8bz8ng7drk5ri20lh0dbcjjxf-llama-cpp-9190",
)
COMPILED = (
    "these 2 derivations will be built:",
    "  /nix/store/zhjjpxwminkji18cspfm7lf7ylhg3r2v-llama-cpp-9190.drv",
    "  /nix/store/a9q4fbcvf4zvcq4056xg556f5jjgz9vq-concierge-llama-cpp-cuda-9190.drv",
    "these 200 paths will be fetched (3.5 GiB download, 9.1 GiB unpacked):",
)


@pytest.mark.parametrize(
    ("said", "cost"),
    [(CACHED, nix.Cost(1, False, 25 << 19)), (COMPILED, nix.Cost(2, True, 7 << 29)), ((), nix.Cost(0, False, 0))],
    ids=("cached", "compiled", "here"),
)
def test_nix_says_what_it_would_compile_and_download(said: tuple[str, ...], cost: nix.Cost) -> None:
    run = FakeRun(tail=said)
    assert nix.foresee("/src", "engines.llama-cpp.cuda", run=run) == cost
    assert "--dry-run" in run.words


@pytest.mark.parametrize("run", [FakeRun(1), FakeRun(None), FakeRun(raises=FileNotFoundError("nix"))])
def test_a_nix_that_does_not_answer_foresees_nothing(run: FakeRun) -> None:
    assert nix.foresee("/src", "engines.llama-cpp.cuda", run=run) is None
    assert nix.llama_cpp("/src", "x86_64-linux", run=run) is None
